#[allmende::payload(nam = "x")]
struct Unknown {
    value: u64,
}

#[allmende::payload(name = "a:b")]
struct Colon {
    value: u64,
}

#[allmende::payload(name = "")]
struct Empty {
    value: u64,
}

#[allmende::payload(version = -1)]
struct Negative {
    value: u64,
}

#[derive(Clone, Copy, allmende::Payload)]
#[payload(version = "2")]
#[repr(C)]
struct Quoted {
    value: u64,
}

fn main() {}
