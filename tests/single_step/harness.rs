//! The tracer: takes a new victim to every point of an operation, kills it there, and has the survivor look.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::common::{self, Random, full, say, skip};

/// What the victim does between the two markers. What it returns is kept until the victim's end.
pub type Act = Box<dyn FnOnce() -> Box<dyn std::any::Any>>;

/// An operation, what is there before it, and what must hold after a kill.
pub struct Operation<'a, W> {
    pub name: &'a str,
    /// In the survivor, before the victim is there.
    pub prepare: &'a dyn Fn() -> W,
    /// In the victim: attaches anew (what it has inherited is the survivor's), and says what to do.
    pub victim: &'a dyn Fn(&W) -> Act,
    /// In the survivor, when the victim is dead.
    pub check: &'a dyn Fn(W),
}

/// Says where a failure happened.
struct Where<'a>(&'a str, u64);

impl Drop for Where<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("  the victim of \"{}\" was killed at point {}", self.0, self.1));
        }
    }
}

/// The same, of a trace.
struct WhereTrace<'a>(&'a str, Trace);

impl Drop for WhereTrace<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("  the victim of \"{}\" was killed at {:?}", self.0, self.1));
        }
    }
}

/// What a victim's stop means.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Step,
    SystemCall,
    /// It is at its second marker.
    End,
}

const NO_PTRACE: i32 = 77;

impl<W> Operation<'_, W> {
    /// Starts a victim and takes it to its first marker; `None` where it cannot be traced.
    fn start(&self, world: &W) -> Option<Pid> {
        let pid = common::fork(|| {
            if ptrace::traceme().is_err() {
                return NO_PTRACE;
            }
            let act = (self.victim)(world);
            raise(Signal::SIGSTOP).unwrap();
            let kept = act();
            raise(Signal::SIGSTOP).unwrap();
            drop(kept);
            0
        });
        match waitpid(pid, None).unwrap() {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
            WaitStatus::Exited(_, NO_PTRACE) => return None,
            other => panic!("{}: the victim does not get ready: {other:?}", self.name),
        }
        let options = ptrace::Options::PTRACE_O_EXITKILL | ptrace::Options::PTRACE_O_TRACESYSGOOD;
        ptrace::setoptions(pid, options).unwrap();
        Some(pid)
    }

    fn wait(&self, pid: Pid) -> Stop {
        match waitpid(pid, None).unwrap() {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => Stop::Step,
            WaitStatus::PtraceSyscall(_) => Stop::SystemCall,
            WaitStatus::Stopped(_, Signal::SIGSTOP) => Stop::End,
            other => panic!("{}: the victim failed by itself: {other:?}", self.name),
        }
    }

    fn step(&self, pid: Pid) -> Stop {
        ptrace::step(pid, None).unwrap();
        self.wait(pid)
    }

    /// To the next entry into, or return from, a system call.
    fn system_call(&self, pid: Pid) -> Stop {
        ptrace::syscall(pid, None).unwrap();
        self.wait(pid)
    }

    fn kill(&self, pid: Pid) {
        kill(pid, Signal::SIGKILL).unwrap();
        let status = waitpid(pid, None).unwrap();
        assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "{}: {status:?}", self.name);
    }

    /// Kills a victim after every instruction; and, before that, after each of those that change what others can see.
    pub fn at_every_instruction(&self) {
        self.at_every_trace();
        let world = (self.prepare)();
        let Some(pid) = self.start(&world) else { return };
        let mut instructions = 0;
        while self.step(pid) != Stop::End {
            instructions += 1;
        }
        self.kill(pid);
        {
            let _where = Where(self.name, instructions);
            (self.check)(world);
        }
        let kill_at = |point| {
            let _where = Where(self.name, point);
            let world = (self.prepare)();
            let pid = self.start(&world).unwrap();
            for _ in 0..point {
                if self.step(pid) == Stop::End {
                    break;
                }
            }
            self.kill(pid);
            (self.check)(world);
        };
        let (kills, stride) = Self::kill_at_all(instructions, 0, kill_at);
        let name = self.name;
        say(&format!("  {name}: {kills} kill points of {instructions} instructions (stride {stride})"));
    }

    /// Kills at as many of `points` as there is time for, evenly, and says how many and how far apart; at all if there
    /// are `few`.
    fn kill_at_all(points: u64, few: u64, kill_at: impl Fn(u64)) -> (u64, u64) {
        let started = Instant::now();
        let piece = piece();
        let stride = if points <= few {
            1
        } else if let Some((_, pieces)) = piece {
            pieces
        } else if full() {
            1
        } else {
            // What one of them takes, by the one in the middle.
            kill_at(points / 2);
            let each = started.elapsed().max(Duration::from_micros(100));
            let affordable = u64::try_from(BUDGET.as_nanos() / each.as_nanos()).unwrap().max(8);
            points.div_ceil(affordable).max(1)
        };
        let offset = match piece {
            _ if stride == 1 => 0,
            Some((first, _)) => first,
            None => Random::new().below(stride),
        };
        let chosen = (offset..points).step_by(usize::try_from(stride).unwrap());
        (chosen.map(kill_at).count() as u64, stride)
    }

    /// Kills a victim at every point that leaves a trace: see the head of this file.
    pub fn at_every_trace(&self) {
        let world = (self.prepare)();
        let Some(pid) = self.start(&world) else { return skip("single steps", "ptrace is forbidden") };
        let points = self.traces(pid);
        self.kill(pid);
        (self.check)(world);
        let kill_at = |index| {
            let point = points[usize::try_from(index).unwrap()];
            let _where = WhereTrace(self.name, point);
            let world = (self.prepare)();
            let pid = self.start(&world).unwrap();
            self.go_to(pid, point);
            self.kill(pid);
            (self.check)(world);
        };
        let (kills, stride) = Self::kill_at_all(points.len() as u64, FEW, kill_at);
        let (name, of) = (self.name, points.len());
        say(&format!("  {name}: {kills} kill points of {of} traces (stride {stride})"));
    }

    /// All points of a run, to the second marker.
    fn traces(&self, pid: Pid) -> Vec<Trace> {
        let mut picture = Picture::take();
        let (mut calls, mut changes) = (0, 0);
        // Nothing was done yet.
        let mut points = vec![Trace::Change { calls, changes }];
        loop {
            let call = at_a_system_call(pid);
            if call {
                points.push(Trace::Before(calls));
            }
            if self.step(pid) == Stop::End {
                return points;
            }
            if call {
                points.push(Trace::After(calls));
                (calls, changes) = (calls + 1, 0);
            }
            if picture.changed() {
                changes += 1;
                points.push(Trace::Change { calls, changes });
            }
        }
    }

    /// Takes a new victim to a point of an earlier one.
    fn go_to(&self, pid: Pid, point: Trace) {
        let (calls, more) = match point {
            Trace::Before(call) => (call, 1),
            Trace::After(call) => (call + 1, 0),
            Trace::Change { calls, .. } => (calls, 0),
        };
        for _ in 0..2 * calls + more {
            if self.system_call(pid) == Stop::End {
                return;
            }
        }
        if let Trace::Change { changes, .. } = point {
            let mut picture = Picture::take();
            let mut seen = 0;
            while seen < changes && self.step(pid) != Stop::End {
                seen += u64::from(picture.changed());
            }
        }
    }
}

/// A point of a run: after so many system calls, and so many changes since the last of them.
#[derive(Debug, Clone, Copy)]
enum Trace {
    Before(u64),
    After(u64),
    Change { calls: u64, changes: u64 },
}

/// Whether the next instruction is a system call. (Elsewhere than on x86-64 only changes count.)
fn at_a_system_call(pid: Pid) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let address = ptrace::getregs(pid).unwrap().rip;
        let code = ptrace::read(pid, address as ptrace::AddressType).unwrap_or(0);
        code & 0xffff == 0x050f
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = pid;
        false
    }
}

/// All memory that this process shares with its victim, to notice changes.
struct Picture(Vec<Area>);

/// What is mapped here, and what was seen there.
struct Area {
    map: *const libc::c_void,
    seen: Vec<u64>,
}

impl Picture {
    fn take() -> Self {
        // START-END rw-s OFFSET DEVICE INODE /memfd:NAME (deleted)
        let mut areas = BTreeMap::new();
        for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [range, "rw-s", offset, device, inode, ..] = fields[..] else { continue };
            let (start, end) = range.split_once('-').unwrap();
            let [start, end] = [start, end].map(|address| usize::from_str_radix(address, 16).unwrap());
            // A file may be mapped several times: the longest will do.
            let area = areas.entry([offset, device, inode].join(" ")).or_insert((start, end));
            if end - start > area.1 - area.0 {
                *area = (start, end);
            }
        }
        let area = |(start, end)| Area {
            map: std::ptr::with_exposed_provenance(start),
            seen: vec![0; (end - start) / 8],
        };
        let mut picture = Self(areas.into_values().map(area).collect());
        picture.changed();
        picture
    }

    fn changed(&mut self) -> bool {
        let mut changed = false;
        for area in &mut self.0 {
            changed |= area.changed();
        }
        changed
    }
}

impl Area {
    fn changed(&mut self) -> bool {
        let (seen, length) = (self.seen.as_mut_ptr().cast::<libc::c_void>(), 8 * self.seen.len());
        // SAFETY: both are that long: it was mapped when the picture was taken, and whoever holds the mapping does
        // nothing before the victim is dead. That one, who writes there, stands still. Left to the C library, which
        // looks anew each time, and is quick even where the tests are not optimised.
        let changed = unsafe { libc::memcmp(self.map, seen, length) } != 0;
        if changed {
            // SAFETY: as above, and they do not overlap.
            unsafe { libc::memcpy(seen, self.map, length) };
        }
        changed
    }
}

/// So few traces are never too many: an operation's every state is seen by somebody in every run.
const FEW: u64 = 150;

/// A part of a full run: `ALLMENDE_PIECE=2/7` is every seventh point from the third on.
fn piece() -> Option<(u64, u64)> {
    let piece = std::env::var("ALLMENDE_PIECE").ok()?;
    let (first, pieces) = piece.split_once('/').expect("ALLMENDE_PIECE=FIRST/PIECES");
    let (first, pieces) = (first.parse().unwrap(), pieces.parse().unwrap());
    assert!(first < pieces, "ALLMENDE_PIECE={piece}");
    Some((first, pieces))
}

/// How long the kills of one operation may take with the small counts.
const BUDGET: Duration = Duration::from_millis(800);
