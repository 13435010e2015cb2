//! Compares an idempotency store with a model that is too simple to be wrong, using random
//! sequences of claims, completions, releases, forgotten events and expiries.

use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;
use soundhash_webhook::idempotency::{Claim, ClaimToken, IdempotencyStore, Key};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
pub enum Step {
    Claim {
        key: u8,
        hours: u32,
    },
    /// Completes a key with an earlier token, counting back from the latest one.
    Complete {
        key: u8,
        token: usize,
        hours: u32,
    },
    Release {
        key: u8,
        token: usize,
    },
    Forget {
        key: u8,
    },
    Wait {
        hours: u32,
    },
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..3u8;
    let token = prop_oneof![3 => 0..3usize, 1 => 0..20usize];
    let step = prop_oneof![
        4 => (key.clone(), 1..5u32).prop_map(|(key, hours)| Step::Claim { key, hours }),
        2 => (key.clone(), token.clone(), 1..9u32)
            .prop_map(|(key, token, hours)| Step::Complete { key, token, hours }),
        2 => (key.clone(), token).prop_map(|(key, token)| Step::Release { key, token }),
        1 => key.prop_map(|key| Step::Forget { key }),
        2 => (1..4u32).prop_map(|hours| Step::Wait { hours }),
    ];
    proptest::collection::vec(step, 1..60)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Claimed(ClaimToken),
    /// The key is completed. This is its retention in hours, which each duplicate restarts.
    Completed(u32),
}

/// Each key's state, with the hour at which it ends.
#[derive(Default)]
struct Model {
    now: u32,
    keys: HashMap<u8, (State, u32)>,
}

impl Model {
    fn get(&self, key: u8) -> Option<State> {
        let (state, until) = self.keys.get(&key)?;
        (self.now < *until).then_some(*state)
    }

    fn holds(&self, key: u8, token: ClaimToken) -> bool {
        self.get(key) == Some(State::Claimed(token))
    }
}

/// Runs the steps on both the store and the model. `forget` calls the store's method, and `wait`
/// lets hours pass for the store.
pub async fn compare<S: IdempotencyStore>(
    store: &S,
    forget: impl AsyncFn(&Key) -> bool,
    name: impl Fn(u8) -> Key,
    steps: &[Step],
    wait: impl AsyncFn(u32),
) {
    let mut model = Model::default();
    let mut tokens: Vec<ClaimToken> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let token_at = |back: usize| {
            let last = tokens.iter().rev().nth(back);
            last.copied().unwrap_or(ClaimToken::from(1))
        };
        match *step {
            Step::Claim { key, hours } => {
                let claim = store.claim(&name(key), HOUR * hours).await.unwrap();
                match (model.get(key), claim) {
                    (None, Claim::Acquired(token)) => {
                        assert!(!tokens.contains(&token), "a token twice, at {at}");
                        tokens.push(token);
                        model
                            .keys
                            .insert(key, (State::Claimed(token), model.now + hours));
                    }
                    (Some(State::Claimed(_)), Claim::InProgress) => {}
                    (Some(State::Completed(retention)), Claim::Completed) => {
                        model
                            .keys
                            .insert(key, (State::Completed(retention), model.now + retention));
                    }
                    (expected, claim) => panic!("{claim:?} and not {expected:?}, at {at}"),
                }
            }
            Step::Complete { key, token, hours } => {
                let token = token_at(token);
                let ended = store
                    .complete(&name(key), token, HOUR * hours)
                    .await
                    .unwrap();
                assert_eq!(ended, model.holds(key, token), "at {at}");
                if ended {
                    model
                        .keys
                        .insert(key, (State::Completed(hours), model.now + hours));
                }
            }
            Step::Release { key, token } => {
                let token = token_at(token);
                let ended = store.release(&name(key), token).await.unwrap();
                assert_eq!(ended, model.holds(key, token), "at {at}");
                if ended {
                    model.keys.remove(&key);
                }
            }
            Step::Forget { key } => {
                let forgotten = forget(&name(key)).await;
                let is_completed = matches!(model.get(key), Some(State::Completed(_)));
                assert_eq!(forgotten, is_completed, "at {at}");
                if forgotten {
                    model.keys.remove(&key);
                }
            }
            Step::Wait { hours } => {
                wait(hours).await;
                model.now += hours;
            }
        }
    }
}
