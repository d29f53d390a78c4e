"""Two CPythons that exchange messages by multiprocessing, for `allmende bench`.

The brief comes as argument, commands come line by line on standard input, answers go to standard output. Payloads are
rebuilt for each message (written in full) and compared with what is expected (read in full).
"""
import array
import json
import multiprocessing
import os
import resource
import signal
import sys
import time

VARIANTS = 8
ANSWER = VARIANTS // 2
NOW = time.monotonic_ns
LEAD_NS = 1_000_000


def die_with_parent(parent):
    """Asks the kernel for SIGKILL when the parent ends; a thread that looks does where ctypes is missing."""
    try:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
    except Exception:
        import threading

        def look():
            while os.getppid() == parent:
                time.sleep(0.2)
            os._exit(1)

        threading.Thread(target=look, daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def variants(brief):
    """The messages that are sent in turn, a function that makes a fresh one of them, and their size in bytes."""
    kind, size = brief["payload"], brief["size"]
    if kind == "f64":
        count = max(size // 8, 1)
        wave = [(i % 512) * 0.37 + 0.1 for i in range(min(count, 512))]
        block = [array.array("d", [value + variant for value in wave]) for variant in range(VARIANTS)]
        whole = [(part * (count // len(part) + 1))[:count] for part in block]
        return whole, lambda message: message[:], count * 8
    if kind == "records":
        made = [records_of(size, variant) for variant in range(VARIANTS)]
        return [records for records, _ in made], fresh_records, made[0][1]
    if kind == "file":
        with open(brief["input"], "rb") as file:
            content = file.read()
        pieces = max(len(content) // size, 1)
        wanted = min(pieces, VARIANTS)
        cut = [content[i * pieces // wanted * size :][:size] for i in range(wanted)]
        whole = [cut[variant % wanted] for variant in range(VARIANTS)]
    else:
        whole = [bytes((variant * 31 + i) & 255 for i in range(256)) * (size // 256 + 1) for variant in range(VARIANTS)]
        whole = [message[:size] for message in whole]
    return whole, lambda message: bytes(memoryview(message)), size


STATIONS = ["Ny-Ålesund", "Zugspitze", "Mauna Loa", "Tiksi", "South Pole Observatory"]
TAGS = ["raw", "calibrated", "wind from the north-west", "ok"]


def records_of(size, variant):
    """Records like those of the other contenders, as many as fit into `size` bytes in flat form; that length."""
    records, total = [], 4
    while True:
        i = len(records)
        station = STATIONS[i % len(STATIONS)]
        tags = [TAGS[(i + j) % len(TAGS)] for j in range(i % 4)]
        samples = [(j + 0.7) * (variant + 1.3) for j in range(i * 5 % 8)]
        before = total
        total += 44 + len(station.encode()) + sum(4 + len(tag) for tag in tags) + 8 * len(samples)
        if records and total > size:
            return records, before
        position = {"latitude": i % 90 + 0.123456, "longitude": variant * 1.1}
        record = {"id": i * VARIANTS + variant, "time": i * 0.1 + variant, "position": position}
        records.append({**record, "station": station, "tags": tags, "samples": samples})


def fresh_records(records):
    """The same records with every number written anew."""
    return [{**record, "id": record["id"], "time": record["time"] + 0.0} for record in records]


def usage():
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int((used.ru_utime + used.ru_stime) * 1e9)
    return cpu, used.ru_nvcsw + used.ru_nivcsw, used.ru_minflt + used.ru_majflt


def peak_rss():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def far(brief, parent, send, receive, control):
    """The echo: carries out what comes over `control`."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    die_with_parent(parent)
    if brief["cores"]:
        os.sched_setaffinity(0, {brief["cores"][1]})
    whole, fresh, _ = variants(brief)
    number = 0
    while True:
        mode, count = control.recv()
        before = usage()
        times = []
        for _ in range(count):
            message = receive()
            if message != whole[number % VARIANTS]:
                raise ValueError("a message arrived garbled")
            if mode == "rtt":
                send(fresh(whole[(number + ANSWER) % VARIANTS]))
            elif mode == "oneway":
                times.append(NOW())
                control.send_bytes(b"1")
            elif mode == "paced":
                times.append(NOW())
            number += 1
        end = NOW()
        control.send((end, times, [b - a for a, b in zip(before, usage())], peak_rss()))


def near(brief, send, receive, control):
    """Takes commands and measures."""
    if brief["cores"]:
        os.sched_setaffinity(0, {brief["cores"][0]})
    whole, fresh, size = variants(brief)
    say({"ready": size})
    number = 0
    for line in sys.stdin:
        order = json.loads(line)
        mode, count, timed = order["mode"], order["count"], order["timed"]
        control.send((mode, count))
        before = usage()
        samples, starts = [], []
        due = [i * 1_000_000_000 // order["rate"] for i in range(count)] if mode == "paced" else []
        start = last = NOW() + (LEAD_NS if due else 0)
        for i in range(count):
            if mode == "oneway":
                starts.append(NOW())
            elif due:
                starts.append(start + due[i])
                wait_until(starts[-1])
            send(fresh(whole[number % VARIANTS]))
            if mode == "rtt":
                if receive() != whole[(number + ANSWER) % VARIANTS]:
                    raise ValueError("an answer arrived garbled")
                if timed:
                    now = NOW()
                    samples.append(now - last)
                    last = now
            elif mode == "oneway":
                control.recv_bytes()
            number += 1
        elapsed, span = NOW() - start, 0
        end, times, far_usage, rss = control.recv()
        if mode == "stream":
            elapsed = end - start
        elif mode == "oneway":
            samples = [b - a for a, b in zip(starts, times)]
            elapsed = sum(samples)
        elif mode == "paced":
            samples = [max(b - a, 0) for a, b in zip(starts, times)]
            elapsed, span = sum(samples), end - start + 1_000_000_000 // order["rate"]
        cpu, switches, faults = (b - a + c for a, b, c in zip(before, usage(), far_usage))
        used = {"cpu_ns": cpu, "switches": switches, "faults": faults, "peak_rss": rss}
        say({"elapsed_ns": elapsed, "span_ns": span, "samples": samples if timed else [], **used})


def wait_until(due):
    """Waits without keeping the interpreter from its other threads, one of which may be sending."""
    while NOW() < due:
        time.sleep(0 if due - NOW() < 500_000 else 0.0002)


def victim(receive, lock, control):
    """Takes a message and is killed in the middle of sending the answer: with the lock, where sending takes one."""
    receive()
    if lock:
        lock.acquire()
    control.send(NOW())
    os.kill(os.getpid(), signal.SIGKILL)


def survivor(brief, send, receive, control):
    """Sends a message and says what it sees instead of an answer."""
    whole, fresh, _ = variants(brief)
    say({"ready": 0})
    send(fresh(whole[0]))
    try:
        receive()
        seen = {"outcome": "failed", "said": "an answer of the dead arrived"}
    except (EOFError, ConnectionError) as error:
        seen = {"outcome": "end of stream", "said": type(error).__name__}
    now = NOW()
    say({**seen, "after_ns": now - control.recv()})


def say(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def lead_out(_signal, _frame):
    """The echo has ended: nothing will ever arrive."""
    say({"error": "the process at the other end is gone"})
    os._exit(1)


def main():
    brief = json.loads(sys.argv[1])
    context = multiprocessing.get_context("fork")
    control, far_control = context.Pipe()
    theirs = lock = None
    if brief["transport"] == "python-pipe":
        ours, theirs = context.Pipe()
        ends = (ours.send, ours.recv), (theirs.send, theirs.recv)
    else:
        there, back = context.Queue(), context.Queue()
        ends = (there.put, back.get), (back.put, there.get)
        lock = getattr(back, "_wlock", None)
    if brief["crash"]:
        context.Process(target=victim, args=(ends[1][1], lock, far_control), daemon=True).start()
        far_control.close()
        if theirs:
            theirs.close()
        survivor(brief, *ends[0], control)
        os._exit(0)
    peer = context.Process(target=far, args=(brief, os.getpid(), *ends[1], far_control), daemon=True)
    signal.signal(signal.SIGCHLD, lead_out)
    peer.start()
    far_control.close()
    near(brief, *ends[0], control)
    os._exit(0)


try:
    main()
except Exception as error:  # The other side reads one line.
    say({"error": f"{type(error).__name__}: {error}"})
    os._exit(1)
