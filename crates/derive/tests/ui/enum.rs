#[allmende::payload]
enum Colour {
    Red,
    Green,
}

#[derive(Clone, Copy, allmende::Payload)]
#[repr(u8)]
enum Size {
    Small,
}

fn main() {}
