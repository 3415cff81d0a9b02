//! Spins without end and without a host call: only the host can stop it.

fn main() {
    println!("spinning");
    loop {
        std::hint::black_box(());
    }
}
