//! Measures whether verification time reveals a secret, using the method of "Dude, is my code
//! constant time?" (Reparaz, Balasch and Verbauwhede, 2017). Two classes of input arrive in random
//! order, and Welch's t-test compares their times. If |t| is at most 5, the times do not differ
//! measurably.
//!
//! The benches named `sound` measure the crate. Each has a counterpart that does the same work but
//! leaks. If the leak is not detected, the measurement is worthless.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::{Future, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum_core::body::Body;
use dudect_bencher::{
    BenchRng, Class, CtRunner, ctbench_main,
    rand::{Rng, RngExt},
};
use http::{HeaderValue, Request, Response};
use soundhash_webhook::{SIGNATURE_HEADER, Secret, Signature, SoundHashWebhookLayer};
use tower::{Layer, Service, service_fn};

ctbench_main!(
    signature_sound,
    signature_leaky,
    verify_sound,
    verify_leaky,
    one_of_four_sound,
    one_of_four_leaky
);

/// The number of rounds, and the number of inputs per round. All inputs of a round are created
/// before any of them is measured, because a processor treats recently written memory differently.
const ROUNDS: usize = 2_000;
const INPUTS: usize = 1_000;

const KEYS: [&str; 4] = ["whsec_test", "whsec_old", "whsec_older", "whsec_oldest"];

/// An input the length of a small event.
type Sample = [u8; 256];

fn sample(rng: &mut BenchRng) -> Sample {
    let mut body = [0; 256];
    rng.fill_bytes(&mut body);
    body
}

/// Chooses one of two values at random. The caller always creates both of them.
fn choose<T>(rng: &mut BenchRng, left: T, right: T) -> (Class, T) {
    match rng.random() {
        true => (Class::Left, left),
        false => (Class::Right, right),
    }
}

/// Creates a signature that is wrong in either its first or its last digit. An attacker who guesses
/// byte by byte would have to tell these apart.
///
/// The wrong digit is random. If it were always zero, parsing would take a different time, even
/// though this difference reveals only what the sender already knows.
fn wrong(rng: &mut BenchRng, right: Signature) -> (Class, HeaderValue) {
    let (class, at) = choose(rng, 0, 63);
    let mut digits: Vec<char> = right.to_string().chars().collect();
    let digit = digits[at].to_digit(16).expect("a digit");
    digits[at] = char::from_digit(digit ^ rng.random_range(1..16), 16).expect("a digit");
    let value = digits.into_iter().collect::<String>();
    (class, HeaderValue::try_from(value).expect("digits"))
}

/// Stops comparing at the first difference.
fn leaky_equal(a: &[u8], b: &[u8]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b)
}

/// Measures how long `work` takes on the inputs that `input` creates for both classes.
///
/// The report shows the worst of a hundred t-tests. Most of these tests exclude the slowest
/// samples, so the reported number of samples is lower than the number measured.
fn measure<I, T>(
    runner: &mut CtRunner,
    rng: &mut BenchRng,
    mut input: impl FnMut(&mut BenchRng) -> (Class, I),
    work: impl Fn(&I) -> T,
) {
    for _ in 0..ROUNDS {
        let inputs: Vec<_> = (0..INPUTS).map(|_| input(rng)).collect();
        for (class, input) in &inputs {
            runner.run_one(*class, || work(black_box(input)));
        }
    }
}

fn signature_sound(runner: &mut CtRunner, rng: &mut BenchRng) {
    let secret = Secret::new(KEYS[0]);
    let input = |rng: &mut BenchRng| {
        let right = secret.sign(&sample(rng));
        let (class, wrong) = wrong(rng, right);
        let wrong = Signature::try_from(&wrong).expect("a signature");
        (class, (right, wrong))
    };
    measure(runner, rng, input, |(right, wrong)| right == wrong);
}

fn signature_leaky(runner: &mut CtRunner, rng: &mut BenchRng) {
    let secret = Secret::new(KEYS[0]);
    let input = |rng: &mut BenchRng| {
        let right = secret.sign(&sample(rng));
        let (class, wrong) = wrong(rng, right);
        (class, (right.to_string(), wrong))
    };
    measure(runner, rng, input, |(right, wrong)| {
        leaky_equal(right.as_bytes(), wrong.as_bytes())
    });
}

fn wrongly_signed(rng: &mut BenchRng, secret: &Secret) -> (Class, (Sample, HeaderValue)) {
    let body = sample(rng);
    let (class, wrong) = wrong(rng, secret.sign(&body));
    (class, (body, wrong))
}

fn verify_sound(runner: &mut CtRunner, rng: &mut BenchRng) {
    let secret = Secret::new(KEYS[0]);
    let input = |rng: &mut BenchRng| wrongly_signed(rng, &secret);
    measure(runner, rng, input, |(body, wrong)| {
        secret.verify(wrong, body)
    });
}

fn verify_leaky(runner: &mut CtRunner, rng: &mut BenchRng) {
    let secret = Secret::new(KEYS[0]);
    let input = |rng: &mut BenchRng| wrongly_signed(rng, &secret);
    measure(runner, rng, input, |(body, wrong)| {
        let right = secret.sign(body).to_string();
        leaky_equal(right.as_bytes(), wrong.as_bytes())
    });
}

/// Creates a body that is signed with either the first or the last of four valid secrets.
fn signed(rng: &mut BenchRng, secrets: &[Secret; 4]) -> (Class, (Sample, HeaderValue)) {
    let body = sample(rng);
    let (current, last) = (secrets[0].sign(&body), secrets[3].sign(&body));
    let (class, signature) = choose(rng, current, last);
    (class, (body, signature.into()))
}

fn one_of_four_sound(runner: &mut CtRunner, rng: &mut BenchRng) {
    let inner = service_fn(|_: Request<Body>| {
        let answer = Response::new(Body::empty());
        ready(Ok::<_, Infallible>(answer))
    });
    let layer = SoundHashWebhookLayer::new(KEYS[0])
        .previous_secret(KEYS[1])
        .previous_secret(KEYS[2])
        .previous_secret(KEYS[3]);
    let service = RefCell::new(layer.layer(inner));
    let secrets = KEYS.map(Secret::new);
    let input = |rng: &mut BenchRng| {
        let (class, (body, signature)) = signed(rng, &secrets);
        let request = Request::post("/webhooks/soundhash")
            .header(SIGNATURE_HEADER, signature)
            .body(Body::from(body.to_vec()))
            .expect("a request");
        (class, Cell::new(request))
    };
    measure(runner, rng, input, |request| {
        let answer = service.borrow_mut().call(request.take());
        let polled = pin!(answer).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Ok(response)) = polled else {
            panic!("the body was there at once");
        };
        assert!(response.status().is_success());
    });
}

fn one_of_four_leaky(runner: &mut CtRunner, rng: &mut BenchRng) {
    let secrets = KEYS.map(Secret::new);
    let input = |rng: &mut BenchRng| signed(rng, &secrets);
    measure(runner, rng, input, |(body, signature)| {
        let mut secrets = secrets.iter();
        secrets.position(|secret| secret.verify(signature, body).is_ok())
    });
}
