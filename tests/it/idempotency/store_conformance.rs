//! Tests the conformance tests themselves, which must accept a correct store and detect every
//! fault.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
    time::Duration,
};

use axum::BoxError;
use soundhash_webhook::{
    idempotency::{Claim, ClaimToken, IdempotencyStore, Key},
    testing::store_conformance,
};
use tokio::{task::yield_now, time::Instant};

/// A fault in a store.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// A correct store. Every other variant is a modification of it.
    None,
    /// Checks whether the key is free and claims it in a later step, as most published layers do.
    CheckThenClaim,
    /// Checks whether the claim is held and ends it in a later step.
    CheckThenEnd,
    IgnoresTokens,
    LeaseNeverEnds,
    RetentionNeverEnds,
    /// Keeps the lease's expiry instead of setting a new one when a key is completed.
    KeepsTheLeasesEnd,
    /// Completes an expired claim that no other token holds.
    CompletesLate,
    /// Treats keys that differ only in case as the same key.
    IgnoresCase,
    FixedToken,
    ForgetsCompleted,
    AlwaysTrue,
    /// Does not renew the retention when a duplicate arrives.
    NeverRenews,
}

/// A key's holder (`None` if the key is completed), its lease or retention, and when that ends
/// (`None` if never).
type State = (Option<ClaimToken>, Option<Duration>, Option<Instant>);

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
        state.filter(|(_, _, until)| until.is_none_or(|until| Instant::now() < until))
    }

    fn set(&self, key: String, token: Option<ClaimToken>, time: Option<Duration>) {
        let until = time.and_then(|time| Instant::now().checked_add(time));
        self.1.lock().unwrap().insert(key, (token, time, until));
    }

    fn holds(&self, key: &str, token: ClaimToken) -> bool {
        let state = match self.0 {
            Fault::CompletesLate => self.1.lock().unwrap().get(key).copied(),
            _ => self.state(key),
        };
        let holder = state.and_then(|(holder, ..)| holder);
        holder == Some(token) || (holder.is_some() && self.0 == Fault::IgnoresTokens)
    }
}

impl IdempotencyStore for Wrong {
    async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
        let key = self.key(key);
        match self.state(&key) {
            Some((Some(_), ..)) => return Ok(Claim::InProgress),
            Some((None, retention, _)) => {
                if self.0 != Fault::NeverRenews {
                    self.set(key, None, retention);
                }
                return Ok(Claim::Completed);
            }
            None => {}
        }
        if self.0 == Fault::CheckThenClaim {
            yield_now().await;
        }
        let token = match self.0 {
            Fault::FixedToken => ClaimToken::from(7),
            _ => ClaimToken::unique(),
        };
        let endless = self.0 == Fault::LeaseNeverEnds;
        self.set(key, Some(token), (!endless).then_some(lease));
        Ok(Claim::Acquired(token))
    }

    async fn complete(
        &self,
        key: &Key,
        token: ClaimToken,
        time: Duration,
    ) -> Result<bool, BoxError> {
        let key = self.key(key);
        if !self.holds(&key, token) {
            return Ok(self.0 == Fault::AlwaysTrue);
        }
        if self.0 == Fault::CheckThenEnd {
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

    async fn release(&self, key: &Key, token: ClaimToken) -> Result<bool, BoxError> {
        let key = self.key(key);
        let holds = self.holds(&key, token);
        if self.0 == Fault::CheckThenEnd {
            yield_now().await;
        }
        if holds {
            self.1.lock().unwrap().remove(&key);
        }
        Ok(holds || self.0 == Fault::AlwaysTrue)
    }
}

/// Returns the panic message if the conformance tests fail. Time is paused, so they do not wait.
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
fn each_fault_of_a_store_is_detected() {
    assert_eq!(verdict(Fault::None), Ok(()));
    for (fault, expected) in [
        (Fault::CheckThenClaim, "64 of 64 concurrent claims acquired"),
        (
            Fault::CheckThenEnd,
            "64 of 64 concurrent calls ended a claim",
        ),
        (Fault::IgnoresTokens, "a foreign token completed"),
        (Fault::LeaseNeverEnds, "a lease does not end"),
        (Fault::RetentionNeverEnds, "a retention does not end"),
        (Fault::KeepsTheLeasesEnd, "a retention does not end"),
        (Fault::CompletesLate, "an expired token completed"),
        (Fault::IgnoresCase, "the new key \"A\" cannot be claimed"),
        (Fault::FixedToken, "two claims with the same token"),
        (Fault::ForgetsCompleted, "claim of a completed key"),
        (Fault::AlwaysTrue, "a completed key's token completed"),
        (
            Fault::NeverRenews,
            "whose retention a duplicate should have renewed",
        ),
    ] {
        let message = verdict(fault).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_token_is_a_number_of_128_bits() {
    let number = u128::MAX - 0xff;
    assert_eq!(u128::from(ClaimToken::from(number)), number);
    assert_eq!(ClaimToken::from(7).to_string(), format!("{:031}7", 0));
}

/// If tokens contained process state, they would repeat after a fork or a snapshot restore.
#[test]
fn tokens_have_no_part_in_common() {
    let tokens: Vec<[u8; 16]> = (0..1000)
        .map(|_| u128::from(ClaimToken::unique()).to_be_bytes())
        .collect();
    for quarter in 0..4 {
        let part = |token: &[u8; 16]| -> [u8; 4] { token[quarter * 4..][..4].try_into().unwrap() };
        let distinct: HashSet<[u8; 4]> = tokens.iter().map(part).collect();
        // Among 1,000 random 32-bit numbers, ten duplicates are practically impossible.
        assert!(distinct.len() > 990, "quarter {quarter}");
    }
}
