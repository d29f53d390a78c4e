#[derive(Clone, Copy, allmende::Payload)]
struct Free {
    value: u64,
}

#[derive(Clone, Copy, allmende::Payload)]
#[repr(align(16))]
struct Aligned {
    value: u64,
}

fn main() {}
