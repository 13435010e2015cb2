//! `MemoryStore`, and that the suite for stores finds out the ones that are wrong.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use axum::BoxError;
use soundhash_webhook::{
    idempotency::{Claim, IdempotencyStore, Key, MemoryStore, Token},
    testing::store_conformance,
};
use tokio::{
    task::yield_now,
    time::{Instant, advance},
};

const HOUR: Duration = Duration::from_secs(3600);

async fn claim(store: &MemoryStore, key: &str) -> Claim {
    store.claim(&Key::new(key), HOUR).await.unwrap()
}

async fn token(store: &MemoryStore, key: &str) -> Token {
    match claim(store, key).await {
        Claim::Acquired(token) => token,
        other => panic!("{key}: {other:?}"),
    }
}

async fn complete(store: &MemoryStore, key: &str) {
    let token = token(store, key).await;
    assert!(store.complete(&Key::new(key), token, HOUR).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_store_conforms() {
    store_conformance(MemoryStore::new(10_000)).await;
}

#[tokio::test(start_paused = true)]
async fn the_memory_store_conforms_in_paused_time() {
    store_conformance(std::sync::Arc::new(MemoryStore::new(10_000))).await;
}

/// A store of one's own keeps it as it likes: as a number, or as text.
#[test]
fn a_token_is_a_number_of_128_bits() {
    let number = u128::MAX - 0xff;
    assert_eq!(u128::from(Token::from(number)), number);
    assert_eq!(Token::from(7).to_string(), format!("{:031}7", 0));
}

#[tokio::test]
async fn the_event_not_seen_for_longest_gives_way() {
    let store = MemoryStore::new(3);
    for key in ["a", "b", "c"] {
        complete(&store, key).await;
    }
    assert_eq!(claim(&store, "a").await, Claim::Completed);
    complete(&store, "d").await;
    for (key, remembered) in [("a", true), ("b", false), ("c", true), ("d", true)] {
        let claim = claim(&store, key).await;
        assert_eq!(claim == Claim::Completed, remembered, "{key}: {claim:?}");
    }
}

/// Attack: none, but a bound that holds for claims too would refuse or forget the newest
/// event when many come at once.
#[tokio::test]
async fn claims_are_never_refused_and_never_give_way() {
    let store = MemoryStore::new(2);
    let mut tokens = Vec::new();
    for key in 0..1000 {
        tokens.push(token(&store, &key.to_string()).await);
    }
    complete(&store, "x").await;
    for key in 0..1000 {
        assert_eq!(claim(&store, &key.to_string()).await, Claim::InProgress);
    }
    assert_eq!(claim(&store, "x").await, Claim::Completed);
    for (key, token) in tokens.into_iter().enumerate() {
        let key = Key::new(&key.to_string());
        assert!(store.complete(&key, token, HOUR).await.unwrap());
        assert_eq!(
            store.claim(&key, HOUR).await.unwrap(),
            Claim::Completed,
            "the newest one"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn memory_of_what_is_over_is_given_back() {
    let store = MemoryStore::new(10_000);
    for key in 0..5000 {
        token(&store, &format!("abandoned {key}")).await;
        complete(&store, &format!("completed {key}")).await;
    }
    tokio::time::sleep(2 * HOUR).await;
    for key in 0..2500 {
        complete(&store, &format!("later {key}")).await;
    }
    token(&store, "the last one").await;
    for key in 0..9000 {
        token(&store, &format!("claim {key}")).await;
    }
    let shown = format!("{store:?}");
    assert!(shown.contains("completed: 2500"), "{shown}");
    assert!(shown.contains("claimed: 9001"), "{shown}");
}

/// A claim looks at others only when there are many, and twice as many after each time: else
/// each would pay for all that are at work.
#[tokio::test(start_paused = true)]
async fn claims_that_are_over_are_looked_for_when_there_are_many() {
    let store = MemoryStore::new(1);
    let claimed = |expected: usize| {
        let shown = format!("{store:?}");
        assert!(shown.contains(&format!("claimed: {expected},")), "{shown}");
    };
    for key in 0..63 {
        token(&store, &format!("over {key}")).await;
    }
    advance(HOUR).await;
    token(&store, "0").await;
    claimed(64);
    // From 64 on, they are looked for, and a lease is over at its very end.
    token(&store, "1").await;
    claimed(2);
    for key in 2..65 {
        token(&store, &key.to_string()).await;
    }
    claimed(65);
    // All 64 were at work then, so the next time is at 128.
    let brief = Duration::from_secs(1);
    for key in 65..75 {
        let key = Key::new(&key.to_string());
        store.claim(&key, brief).await.unwrap();
    }
    advance(brief).await;
    for key in 75..128 {
        token(&store, &key.to_string()).await;
        claimed(key + 1);
    }
    token(&store, "128").await;
    claimed(119);
}

/// No clock shows when the longest of times is over; the store says so after 30 years.
#[tokio::test(start_paused = true)]
async fn a_time_that_no_clock_shows_is_a_long_one() {
    let store = MemoryStore::new(1);
    let (at_work, done) = (Key::new("at work"), Key::new("done"));
    store.claim(&at_work, Duration::MAX).await.unwrap();
    let token = token(&store, "done").await;
    assert!(store.complete(&done, token, Duration::MAX).await.unwrap());
    advance((30 * 365 * 24 - 1) * HOUR).await;
    assert_eq!(claim(&store, "at work").await, Claim::InProgress);
    assert_eq!(claim(&store, "done").await, Claim::Completed);
}

#[test]
#[should_panic(expected = "room for at least one event")]
fn a_memory_store_without_room_is_refused() {
    let _ = MemoryStore::new(0);
}

// ---- stores that are wrong

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// The correct one, to show that it is the fault that is found.
    None,
    /// Looks, and acts later: what most published layers do.
    CheckThenAct,
    /// Looks whether the claim is held, and ends it later.
    LookThenEnd,
    IgnoresTokens,
    LeaseNeverEnds,
    RetentionNeverEnds,
    /// A completed key lasts only as long as its lease would have.
    KeepsTheLeasesEnd,
    /// An expired claim that nobody took is still completed.
    CompletesLate,
    /// Takes keys that differ by case only for one.
    IgnoresCase,
    FixedToken,
    ForgetsCompleted,
    AlwaysTrue,
}

/// A key's holder, `None` if it is completed, and when that ends, if it does.
type State = (Option<Token>, Option<Instant>);

struct Wrong(Fault, Mutex<HashMap<String, State>>);

impl Wrong {
    fn new(fault: Fault) -> Self {
        Self(fault, Mutex::default())
    }

    fn key(&self, key: &Key) -> String {
        match self.0 {
            Fault::IgnoresCase => key.as_str().to_lowercase(),
            _ => key.to_string(),
        }
    }

    fn state(&self, key: &str) -> Option<State> {
        let states = self.1.lock().unwrap();
        let state = states.get(key).copied();
        state.filter(|(_, until)| until.is_none_or(|until| Instant::now() < until))
    }

    fn set(&self, key: String, token: Option<Token>, time: Option<Duration>) {
        let until = time.and_then(|time| Instant::now().checked_add(time));
        self.1.lock().unwrap().insert(key, (token, until));
    }

    fn holds(&self, key: &str, token: Token) -> bool {
        match self.0 {
            Fault::IgnoresTokens => self.state(key).is_some_and(|(held, _)| held.is_some()),
            Fault::CompletesLate => {
                let states = self.1.lock().unwrap();
                states
                    .get(key)
                    .is_some_and(|(held, _)| *held == Some(token))
            }
            _ => self.state(key).is_some_and(|(held, _)| held == Some(token)),
        }
    }
}

impl IdempotencyStore for Wrong {
    async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
        let key = self.key(key);
        match self.state(&key) {
            Some((Some(_), _)) => return Ok(Claim::InProgress),
            Some((None, _)) => return Ok(Claim::Completed),
            None => {}
        }
        if self.0 == Fault::CheckThenAct {
            yield_now().await;
        }
        let token = match self.0 {
            Fault::FixedToken => Token::from(7),
            _ => Token::unique(),
        };
        let endless = self.0 == Fault::LeaseNeverEnds;
        self.set(key, Some(token), (!endless).then_some(lease));
        Ok(Claim::Acquired(token))
    }

    async fn complete(&self, key: &Key, token: Token, time: Duration) -> Result<bool, BoxError> {
        let key = self.key(key);
        if !self.holds(&key, token) {
            return Ok(self.0 == Fault::AlwaysTrue);
        }
        if self.0 == Fault::LookThenEnd {
            yield_now().await;
        }
        match self.0 {
            Fault::RetentionNeverEnds => self.set(key, None, None),
            Fault::ForgetsCompleted => drop(self.1.lock().unwrap().remove(&key)),
            Fault::KeepsTheLeasesEnd => {
                let mut states = self.1.lock().unwrap();
                states.entry(key).and_modify(|state| state.0 = None);
            }
            _ => self.set(key, None, Some(time)),
        }
        Ok(true)
    }

    async fn release(&self, key: &Key, token: Token) -> Result<bool, BoxError> {
        let key = self.key(key);
        let holds = self.holds(&key, token);
        if self.0 == Fault::LookThenEnd {
            yield_now().await;
        }
        if holds {
            self.1.lock().unwrap().remove(&key);
        }
        Ok(holds || self.0 == Fault::AlwaysTrue)
    }
}

/// What the suite says about a store, in a time that passes at once.
fn verdict(fault: Fault) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let run =
        std::panic::AssertUnwindSafe(|| runtime.block_on(store_conformance(Wrong::new(fault))));
    std::panic::catch_unwind(run).map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
    })
}

#[test]
fn the_suite_tells_right_from_wrong() {
    assert_eq!(verdict(Fault::None), Ok(()));
    for (fault, expected) in [
        (
            Fault::CheckThenAct,
            "of 64 claims at once, 64 acquired the key",
        ),
        (
            Fault::LookThenEnd,
            "of 64 ends of a claim at once, 64 were told that they ended it",
        ),
        (Fault::IgnoresTokens, "released by a stranger's token"),
        (Fault::LeaseNeverEnds, "a lease does not run out"),
        (Fault::RetentionNeverEnds, "a retention does not run out"),
        (Fault::KeepsTheLeasesEnd, "a retention does not run out"),
        (Fault::CompletesLate, "completed after the lease"),
        (Fault::IgnoresCase, "the new key \"A\" cannot be claimed"),
        (Fault::FixedToken, "two claims with the same token"),
        (Fault::ForgetsCompleted, "claim of a completed key"),
        (Fault::AlwaysTrue, "completed twice"),
    ] {
        let told = verdict(fault).unwrap_err();
        assert!(told.contains(expected), "{told}");
    }
}

/// Fencing works between processes only if no two give the same token.
#[test]
fn tokens_of_two_processes_differ() {
    let child = || {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args([
            "--exact",
            "idempotency::stores::child_prints_a_token",
            "--nocapture",
        ]);
        let output = child.env("SOUNDHASH_TEST_CHILD", "1").output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let (_, token) = stdout.split_once("token: ").unwrap();
        token.lines().next().unwrap().to_owned()
    };
    // The half that tells processes apart; the rest is a count.
    assert_ne!(child()[..16], child()[..16]);
    assert_ne!(Token::unique(), Token::unique());
}

#[test]
fn child_prints_a_token() {
    if std::env::var_os("SOUNDHASH_TEST_CHILD").is_some() {
        println!("token: {}", Token::unique());
    }
}
