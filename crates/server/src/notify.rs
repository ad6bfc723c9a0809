//! Messages to the service manager, by the protocol of sd_notify. Without a service manager that
//! asks for them, nothing is sent.

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::message::Message;
use crate::reload::Worker;

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("can't reach the service manager: {error}");
    }
}

/// The server serves, at its start or after a reload.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// A reload has begun.
pub(crate) fn reloading() {
    // "RELOADING=1 … the service must also send a MONOTONIC_USEC= field" (sd_notify).
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => log::warn!("can't tell the time to the service manager: {error}"),
    }
}

/// The server ends gracefully.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Another process serves in place of this one.
pub(crate) fn taken_over_by(process: u32) {
    notify(&[NotifyState::MainPid(process), NotifyState::Ready]);
}

/// The watchdog of the service manager, which restarts the server unless all workers turn.
pub(crate) struct Watchdog {
    every: Duration,
    due: Instant,
    answers: Receiver<()>,
    /// Workers that haven't answered the last question.
    missing: usize,
}

impl Watchdog {
    /// Returns the watchdog, if the service manager has one for this process.
    pub(crate) fn find(now: Instant) -> Option<Self> {
        let interval = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())?;
        Some(Self {
            // A worker has half of the interval to answer: one question of four may be late.
            every: interval / 4,
            due: now,
            answers: mpsc::channel().1,
            missing: 0,
        })
    }

    /// Returns when to call [`Watchdog::turn`].
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Reports to the service manager if all workers have answered, and asks them again.
    pub(crate) fn turn(&mut self, workers: &[Worker], now: Instant) {
        if now < self.due {
            return;
        }
        self.due = now + self.every;
        self.missing -= self.answers.try_iter().count().min(self.missing);
        if self.missing > 0 {
            return;
        }
        notify(&[NotifyState::Watchdog]);
        let (answer, answers) = mpsc::channel();
        let ask = |worker: &&Worker| worker.mailbox.send(Message::Answer(answer.clone()));
        // A worker that has ended has nothing to answer.
        self.missing = workers.iter().filter(ask).count();
        self.answers = answers;
    }
}
