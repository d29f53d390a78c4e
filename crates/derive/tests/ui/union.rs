#[derive(Clone, Copy, allmende::Payload)]
#[repr(C)]
union Either {
    small: u8,
    large: u64,
}

fn main() {}
