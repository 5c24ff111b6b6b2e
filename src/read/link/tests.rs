use super::*;

/// A link as it may be. GETs share it evenly.
#[derive(Debug, Clone, Copy)]
struct Wire {
    latency: f64,
    connection_rate: f64,
    total_rate: f64,
    /// More GETs at once than this are told to slow down.
    throttles_above: usize,
    /// What arrives in an epoch is off by at most this share.
    noise: f64,
}

impl Wire {
    fn new(latency_ms: f64, connection_rate: f64, total_rate: f64) -> Self {
        Self {
            latency: latency_ms / 1000.0,
            connection_rate,
            total_rate,
            throttles_above: usize::MAX,
            noise: 0.05,
        }
    }

    fn rate(&self, gets: usize, part: f64) -> f64 {
        let alone = part / (self.latency + part / self.connection_rate);
        let rate = (alone * gets as f64).min(self.total_rate);
        if gets > self.throttles_above {
            rate / 2.0
        } else {
            rate
        }
    }

    /// What any number of GETs brings at best.
    fn best(&self, drive: &Drive) -> f64 {
        let part = drive.link.part_bytes() as f64;
        let rates = LEVELS
            .iter()
            .filter(|&&gets| gets <= 128.min(self.throttles_above));
        rates.map(|&gets| self.rate(gets, part)).fold(0.0, f64::max)
    }
}

/// A link that is driven by the [`Wire`] it has to learn.
struct Drive {
    link: Link,
    now: Instant,
    counts: Counts,
    random: fastrand::Rng,
    levels: Vec<usize>,
}

impl Drive {
    fn new(gets_max: usize, seed: u64) -> Self {
        let mut link = Link::new(gets_max);
        let now = Instant::now();
        link.wakes(now, Counts::default());
        Self {
            link,
            now,
            counts: Counts::default(),
            random: fastrand::Rng::with_seed(seed),
            levels: Vec::new(),
        }
    }

    /// One round: every GET in flight is done once.
    fn round(&mut self, wire: &Wire) -> f64 {
        let gets = self.link.gets();
        let part = self.link.part_bytes() as f64;
        let wobble = 1.0 + wire.noise * (2.0 * self.random.f64() - 1.0);
        let rate = wire.rate(gets, part) * wobble;
        let took = Duration::from_secs_f64(gets as f64 * part / rate);
        let body = took.as_secs_f64() - wire.latency;
        let sample = Sample {
            first_byte: Duration::from_secs_f64(wire.latency),
            body: Duration::from_secs_f64(body.max(1e-4)),
            bytes: self.link.part_bytes(),
        };
        for _ in 0..gets {
            self.now += took / u32::try_from(gets).unwrap_or(1);
            self.counts.bytes += sample.bytes;
            if gets > wire.throttles_above {
                self.counts.throttled += 1;
            }
            self.link.done(self.now, self.counts, &sample, true);
        }
        self.levels.push(self.link.gets());
        rate
    }

    /// Mean rate over the rounds of so many seconds.
    fn run(&mut self, wire: &Wire, seconds: f64) -> f64 {
        let (began, before) = (self.now, self.counts.bytes);
        while (self.now - began).as_secs_f64() < seconds {
            self.round(wire);
        }
        (self.counts.bytes - before) as f64 / (self.now - began).as_secs_f64()
    }
}

fn wires() -> Vec<Wire> {
    let mut wires = Vec::new();
    for latency_ms in [0.3, 5.0, 20.0, 60.0] {
        for connection_rate in [20e6, 100e6, 400e6, 1.5e9] {
            for total_rate in [80e6, 1e9, 3e9, 6e9] {
                wires.push(Wire::new(latency_ms, connection_rate, total_rate));
            }
        }
    }
    wires
}

#[test]
fn it_comes_within_a_tenth_of_the_best() {
    for wire in wires() {
        for seed in 0..5 {
            let mut drive = Drive::new(128, seed);
            drive.run(&wire, 30.0);
            let rate = drive.run(&wire, 60.0);
            let best = wire.best(&drive);
            assert!(
                rate >= 0.9 * best,
                "{wire:?}, seed {seed}: {rate:.3e} of {best:.3e}"
            );
        }
    }
}

#[test]
fn it_is_soon_good_where_a_stream_is_short() {
    // Twenty milliseconds, 100 MB/s a connection: a gigabyte takes a third of a second at best.
    let wire = Wire::new(20.0, 100e6, 3.2e9);
    let mut drive = Drive::new(128, 1);
    drive.round(&wire);
    let rate = drive.run(&wire, 1.0);
    assert!(rate >= 0.8 * wire.best(&drive), "{rate:.3e}");
}

#[test]
fn it_takes_no_more_connections_than_help() {
    for (wire, gets_max) in [
        (Wire::new(0.3, 1.5e9, 2.5e9), 6),
        (Wire::new(0.3, 0.8e9, 2.5e9), 8),
        (Wire::new(20.0, 100e6, 500e6), 12),
    ] {
        let mut drive = Drive::new(128, 7);
        drive.run(&wire, 60.0);
        drive.levels.clear();
        drive.run(&wire, 60.0);
        let mut levels = std::mem::take(&mut drive.levels);
        levels.sort_unstable();
        let median = levels[levels.len() / 2];
        assert!(median <= gets_max, "{wire:?}: {median}");
    }
}

#[test]
fn it_does_not_swing() {
    let wire = Wire::new(20.0, 100e6, 2e9);
    let mut drive = Drive::new(128, 3);
    drive.run(&wire, 30.0);
    drive.levels.clear();
    drive.run(&wire, 120.0);
    let levels = &drive.levels;
    let jumps = levels
        .windows(2)
        .filter(|two| two[0].abs_diff(two[1]) * 2 > two[0]);
    let jumps = jumps.count();
    assert!(jumps * 20 <= levels.len(), "{jumps} of {}", levels.len());
}

#[test]
fn throttling_is_obeyed_and_forgotten() {
    let mut wire = Wire::new(20.0, 100e6, 6e9);
    wire.throttles_above = 16;
    let mut drive = Drive::new(128, 5);
    drive.run(&wire, 60.0);
    let before = drive.counts.throttled;
    let rate = drive.run(&wire, 300.0);
    let best = wire.best(&drive);
    assert!(rate >= 0.8 * best, "{rate:.3e} of {best:.3e}");
    let told = drive.counts.throttled - before;
    let gets = drive.counts.bytes / drive.link.part_bytes();
    assert!(told * 20 <= gets, "told {told} times");
    // The limit is lifted.
    wire.throttles_above = usize::MAX;
    drive.run(&wire, 1200.0);
    let rate = drive.run(&wire, 60.0);
    assert!(rate >= 0.8 * wire.best(&drive), "{rate:.3e}");
}

#[test]
fn it_follows_a_link_that_changes() {
    let fast = Wire::new(20.0, 100e6, 4e9);
    let slow = Wire::new(20.0, 100e6, 400e6);
    let mut drive = Drive::new(128, 9);
    for wire in [fast, slow, fast, slow] {
        drive.run(&wire, 120.0);
        let rate = drive.run(&wire, 60.0);
        assert!(rate >= 0.85 * wire.best(&drive), "{wire:?}: {rate:.3e}");
    }
}

#[test]
fn noise_does_not_lead_it_astray() {
    let mut wire = Wire::new(20.0, 100e6, 2.5e9);
    wire.noise = 0.25;
    for seed in 0..10 {
        let mut drive = Drive::new(128, seed);
        drive.run(&wire, 30.0);
        let rate = drive.run(&wire, 120.0);
        let best = wire.best(&drive);
        assert!(rate >= 0.8 * best, "seed {seed}: {rate:.3e} of {best:.3e}");
    }
}

#[test]
fn a_reader_that_is_slower_than_the_link_teaches_nothing() {
    let mut link = Link::new(128);
    let mut now = Instant::now();
    let mut counts = Counts::default();
    link.wakes(now, counts);
    let sample = Sample {
        first_byte: Duration::from_millis(20),
        body: Duration::from_millis(80),
        bytes: 8 << 20,
    };
    link.done(now, counts, &sample, false);
    let gets = link.gets();
    for _ in 0..1000 {
        now += Duration::from_millis(50);
        counts.bytes += sample.bytes;
        link.done(now, counts, &sample, false);
    }
    assert_eq!(link.gets(), gets);
    assert!(link.rates.iter().all(Option::is_none));
}

#[test]
fn a_part_is_five_times_its_first_byte() {
    let part = |first_byte_ms: u64, rate: f64| {
        let mut link = Link::new(64);
        let bytes = 8 << 20;
        let sample = Sample {
            first_byte: Duration::from_millis(first_byte_ms),
            body: Duration::from_secs_f64(bytes as f64 / rate),
            bytes,
        };
        for _ in 0..100 {
            link.done(Instant::now(), Counts::default(), &sample, true);
        }
        link.part_bytes() >> 20
    };
    assert_eq!(part(20, 100e6), 8);
    assert_eq!(part(20, 50e6), 4);
    assert_eq!(part(200, 200e6), 8, "the longest");
    assert_eq!(part(10, 10e6), 1, "the shortest");
    assert_eq!(
        part(0, 1e9),
        8,
        "a near server is not asked more often than pays"
    );
}
