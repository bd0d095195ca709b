//! Which random statements do not plan.
use tidemark_testing::oracle::Generator;
fn main() {
    let n: u64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(200);
    let mut bad = 0;
    for seed in 0..n {
        let case = Generator::new(seed).case();
        let job = tidemark_testing::property::job(&case, 1);
        match std::panic::catch_unwind(|| tidemark_testing::run::plan(&job.sql)) {
            Ok(Ok(_)) => {}
            Ok(Err(errors)) => {
                bad += 1;
                println!("#{seed} {:?}\n{}\n", errors.iter().map(|e| format!("{}: {} {:?}", e.code, e.message, e.help)).collect::<Vec<_>>(), job.sql);
            }
            Err(_) => { bad += 1; println!("#{seed} PANIC\n{}\n", job.sql); }
        }
    }
    println!("{bad} of {n}");
}
