//! Thousands of random steps against a simple model: brokers open, are used, close and expire, machines
//! move, the daemon is stopped and killed. After each step API, store, kernel and sockets are compared with
//! each other and with what the model expects.
//!
//! `PORTCULLIS_SEED=N` walks other ways; a failure names the seed and the step.

mod crash;
mod steps;
mod world;

use portcullis_tests::behind_every_gate;

use world::World;

behind_every_gate!(a_walk_leaves_what_the_model_expects, another_walk_does_too);

fn a_walk_leaves_what_the_model_expects(backend: &str) {
    walk(backend, 1);
}

fn another_walk_does_too(backend: &str) {
    walk(backend, 2);
}

/// The two behind the kernel's gate are 10,000 steps and 200 crashes together.
fn walk(backend: &str, seed: u64) {
    let (steps, crashes) = if backend == "ebpf" { (5_000, 100) } else { (500, 10) };
    let first = std::env::var("PORTCULLIS_SEED").map_or(0, |seed| seed.parse().expect("a number"));
    let seed = first + seed;
    let mut world = World::new(backend, seed);
    for step in 1..=steps {
        world.said = format!("seed {seed}, step {step}");
        if step % (steps / crashes) == 0 {
            world.crash();
        } else {
            world.step();
        }
        world.compare();
    }
    assert_eq!(world.crashes, crashes);
    world.finish();
}
