//! Right and wrong passwords, one after the other and many at once. Times are tokio's paused clock.

use futures_util::future::join_all;
use tokio::time::{advance, timeout};

use super::*;
use crate::broker::{Protocol, Secret};

fn target(port: u16, password: &str) -> Target {
    Target { secret: Secret::new(password.into()), ..Target::new("10.0.0.7", port, Protocol::Vnc) }
}

/// Whether it may be tried now, and if so is refused: how long nobody tries again.
async fn is_refused(passwords: &Arc<Passwords>, target: &Target) -> Result<Duration, Duration> {
    passwords.turn(target).await.map(Turn::refused)
}

fn known() -> Arc<Passwords> {
    Arc::default()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test(start_paused = true)]
async fn the_waits_grow_up_to_a_minute() {
    let (passwords, wrong) = (known(), target(5900, "wrong"));
    for wait in [5, 10, 20, 40, 60, 60].map(seconds) {
        assert_eq!(is_refused(&passwords, &wrong).await, Ok(wait));
        assert_eq!(is_refused(&passwords, &wrong).await, Err(wait));
        advance(wait - seconds(1)).await;
        assert_eq!(is_refused(&passwords, &wrong).await, Err(seconds(1)));
        advance(seconds(1)).await;
    }
    advance(MEMORY + seconds(1)).await;
    assert_eq!(is_refused(&passwords, &wrong).await, Ok(FIRST_WAIT));
}

#[tokio::test(start_paused = true)]
async fn a_corrected_record_is_tried_at_once() {
    let (passwords, wrong) = (known(), target(5900, "wrong"));
    assert_eq!(is_refused(&passwords, &wrong).await, Ok(FIRST_WAIT));
    for other in [target(5900, "right"), target(5901, "wrong")] {
        passwords.turn(&other).await.expect("another matter").accepted();
    }
    assert!(passwords.turn(&wrong).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_success_is_the_end_of_it() {
    let (passwords, late) = (known(), target(5900, "right by now"));
    assert_eq!(is_refused(&passwords, &late).await, Ok(seconds(5)));
    advance(seconds(5)).await;
    passwords.turn(&late).await.expect("its time is over").accepted();
    assert!(lock(&passwords.known).is_empty());
    assert_eq!(is_refused(&passwords, &late).await, Ok(seconds(5)));
}

#[tokio::test(start_paused = true)]
async fn of_many_at_once_one_tries_a_wrong_password() {
    let (passwords, wrong) = (known(), target(5900, "wrong"));
    let all = (0..50).map(|_| async {
        let turn = passwords.turn(&wrong).await?;
        tokio::time::sleep(seconds(1)).await;
        Ok::<_, Duration>(turn.refused())
    });
    let tried = join_all(all).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(tried, 1);
}

#[tokio::test(start_paused = true)]
async fn of_many_at_once_all_use_a_right_password() {
    let (passwords, right) = (known(), target(5900, "right"));
    let all = (0..50).map(|_| async {
        let turn = passwords.turn(&right).await.expect("never refused");
        tokio::time::sleep(seconds(1)).await;
        turn.accepted();
    });
    // One waits for nobody, the others for it, and not for each other.
    let began = Instant::now();
    join_all(all).await;
    assert_eq!(began.elapsed(), seconds(2));
    assert!(lock(&passwords.known).is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_the_turn_to_the_next() {
    let (passwords, silent) = (known(), target(5900, "any"));
    let first = passwords.turn(&silent).await.expect("the first");
    assert!(timeout(seconds(1), passwords.turn(&silent)).await.is_err(), "two try at once");
    let next = passwords.turn(&silent);
    let (next, ()) = tokio::join!(next, async { drop(first) });
    drop(next.expect("it is the next one's turn"));
    assert!(lock(&passwords.known).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_bounded() {
    let passwords = known();
    let in_use = passwords.turn(&target(0, "wrong")).await.expect("the first try");
    for port in 1..=REFUSALS as u16 + 10 {
        is_refused(&passwords, &target(port, "wrong")).await.expect("the first try");
        advance(Duration::from_millis(1)).await;
    }
    assert_eq!(lock(&passwords.known).len(), REFUSALS);
    // The oldest made room, and what is in use did not.
    assert!(passwords.turn(&target(1, "wrong")).await.is_ok());
    assert_eq!(in_use.refused(), FIRST_WAIT);
    assert!(passwords.turn(&target(REFUSALS as u16, "wrong")).await.is_err());
}
