#[allmende::payload]
struct Everything<'a> {
    flag: bool,
    letter: char,
    length: usize,
    difference: [isize; 4],
    text: &'a str,
    address: *const u8,
    callback: fn(),
    pair: (u8, u8),
}

fn main() {}
