//! A pool of workers: jobs go to whoever is free. One worker is killed with a job in its hands; another
//! one gets the job, and is told that this is the second attempt.

use allmende::Region;
use allmende::channel::queue::Queue;
use allmende::ring::error::PopError;
use allmende::worker::{self, Current, Outcome, Worker};

const JOBS: u64 = 1000;

fn main() -> Outcome {
    worker::roles(&[("worker", work), ("victim", take_and_wait)]);
    let region = Region::create().memfd("pool")?;
    let (jobs, results) = (Queue::create(&region, "jobs", 64)?, Queue::create(&region, "results", 64)?);
    let (job, result) = (jobs.producer()?, results.consumer()?);
    job.push(0_u64)?;
    let victim = Worker::same_binary("victim").region("pool", &region).start()?;
    victim.kill()?;
    victim.wait()?;
    let start = || Worker::same_binary("worker").region("pool", &region).start();
    let workers = [start()?, start()?, start()?];
    let mut squares = 0;
    for number in 1..JOBS {
        while let Ok(square) = result.try_pop() {
            squares += Answer::add(square);
        }
        job.push(number)?;
    }
    // No more jobs: each worker ends when all of them are taken.
    jobs.close()?;
    while let Ok(square) = result.pop() {
        squares += Answer::add(square);
    }
    workers.iter().try_for_each(Worker::join)?;
    println!("the sum of {JOBS} squares is {squares}");
    let counts = jobs.counts();
    println!("{} jobs, {} redelivered, {} lost", counts.messages, counts.redelivered, counts.lost);
    Ok(())
}

/// What a worker found out.
#[allmende::payload]
#[derive(Debug)]
struct Answer {
    number: u64,
    square: u64,
    attempt: u64,
}

impl Answer {
    fn add(self) -> u64 {
        if self.attempt > 1 {
            println!("job {} was done in attempt {}", self.number, self.attempt);
        }
        self.square
    }
}

fn work(worker: &Current) -> Outcome {
    let region = worker.region("pool")?;
    let jobs = Queue::<u64>::open(region, "jobs")?.consumer()?;
    let results = Queue::<Answer>::open(region, "results")?.producer()?;
    worker.ready()?;
    loop {
        let job = match jobs.receive() {
            Err(PopError::Closed) => return Ok(()),
            job => job?,
        };
        results.push(Answer { number: *job, square: *job * *job, attempt: job.attempt().into() })?;
    }
}

fn take_and_wait(worker: &Current) -> Outcome {
    let jobs = Queue::<u64>::open(worker.region("pool")?, "jobs")?.consumer()?;
    let job = jobs.receive()?;
    println!("the first worker has job {} in its hands", *job);
    worker.ready()?;
    std::thread::sleep(std::time::Duration::from_hours(1));
    Ok(())
}
