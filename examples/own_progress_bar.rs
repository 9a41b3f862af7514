//! Shows progress in a program's own way and stops after a while: `cargo run --release --example own_progress_bar`.

use std::time::Duration;

use hsr_gpu::coordination::watcher::{StageTime, Watcher};
use hsr_gpu::engine::StepLosses;
use hsr_gpu::sensor::demo_pair::{DemoPair, demo_pair};
use hsr_gpu::{Error, Fusion, Result, Token};

struct Bar(&'static str);

impl Watcher for Bar {
    fn begin(&mut self, stage: &'static str) {
        self.0 = stage;
    }

    fn progress(&mut self, done: usize, total: usize, _: Option<&StepLosses>) {
        print!("\r{:12} {:3} %", self.0, 100 * done / total.max(1));
    }

    fn end(&mut self, time: &StageTime) {
        println!("\r{:12} {:.1} s", time.stage, time.seconds);
    }
}

fn main() -> Result<()> {
    let DemoPair { hsi, msi, .. } = demo_pair()?;
    let token = Token::new();
    let patience = token.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(60));
        patience.cancel();
    });
    match Fusion::new(&hsi, &msi).watch(&mut Bar("")).cancel(&token).run() {
        Err(Error::Interrupted(_)) => println!("\nstopped after a minute"),
        fused => println!("{:?}", fused?.dim()),
    }
    Ok(())
}
