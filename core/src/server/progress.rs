//! How a connection gets on: watched by those who wait for it, and by those who want its seat.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// For how long a connection keeps its seat though it idles and another one waits: its request may be on the way.
const IDLE_MIN: Duration = Duration::from_millis(100);

/// The same for one that is in the middle of sending a request.
const STALLED_MIN: Duration = Duration::from_secs(1);

/// What a connection is at.
#[derive(Clone, Copy)]
enum Phase {
    /// It waits for the first byte of a request.
    Idle,
    /// A request's head has begun to arrive.
    Arriving,
    /// The body arrives.
    Reading,
    /// The service has the whole request.
    Answering,
    /// There is an answer, and the client has yet to take it.
    Answered,
}

#[derive(Clone, Copy)]
struct State {
    phase: Phase,
    since: Instant,
    /// When the last byte arrived.
    heard: Instant,
}

impl State {
    fn enter(&mut self, phase: Phase) {
        (self.phase, self.since) = (phase, Instant::now());
    }
}

/// For how long a connection has kept its seat waiting. Less is whose seat is given away first: those that idle go before
/// those that are sending, and of each those that have been silent longest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Silence {
    is_sending: bool,
    since: Instant,
    /// The request's head has arrived, so that a part of its body may lie here.
    pub(super) has_body: bool,
}

/// What is known of a connection.
pub(super) struct Progress {
    state: Mutex<State>,
    /// Anything arrived at all.
    pub(super) begun: AtomicBool,
    /// It was answered before it was read to its end.
    pub(super) unread: AtomicBool,
    /// Its answer goes on until somebody ends it.
    is_streaming: AtomicBool,
    /// Another connection waits for its seat.
    asked_to_go: Notify,
}

impl Progress {
    /// A new connection: nothing has arrived.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State { phase: Phase::Idle, since: now, heard: now }),
            begun: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            is_streaming: AtomicBool::new(false),
            asked_to_go: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the request is answered before it was read to its end.
    pub(super) fn left_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// Notes that bytes arrived.
    pub(super) fn arrived(&self) {
        self.begun.store(true, Ordering::Relaxed);
        let mut state = self.state();
        state.heard = Instant::now();
        if matches!(state.phase, Phase::Idle) {
            state.enter(Phase::Arriving);
        }
    }

    /// Notes that a request's head has arrived, and tells when its first byte did.
    pub(super) fn reading(&self) -> Instant {
        let mut state = self.state();
        let arriving = matches!(state.phase, Phase::Arriving).then_some(state.since);
        state.enter(Phase::Reading);
        arriving.unwrap_or(state.since)
    }

    /// Notes that the request has arrived to its end.
    pub(super) fn answering(&self) {
        self.state().enter(Phase::Answering);
    }

    /// Notes that the answer is there. What has arrived by now belongs to the next request, whose time begins when it is its
    /// turn.
    pub(super) fn answered(&self) {
        self.state().enter(Phase::Answered);
    }

    /// Notes that the answer has begun, and goes on until somebody ends it.
    pub(super) fn streaming(&self) {
        self.is_streaming.store(true, Ordering::Relaxed);
    }

    /// Whether its answer goes on until somebody ends it.
    pub(super) fn is_streaming(&self) -> bool {
        self.is_streaming.load(Ordering::Relaxed)
    }

    /// Notes that the client has taken all that was written.
    pub(super) fn flushed(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Answered) {
            state.enter(Phase::Idle);
        }
    }

    /// How long the client has been silent, where it is its turn and it has been silent for too long to keep its seat.
    pub(super) fn silence(&self) -> Option<Silence> {
        let State { phase, since, heard } = *self.state();
        let (is_sending, since, least) = match phase {
            Phase::Idle => (false, since, IDLE_MIN),
            Phase::Arriving | Phase::Reading => (true, heard, STALLED_MIN),
            Phase::Answering | Phase::Answered => return None,
        };
        (since.elapsed() >= least).then_some(Silence {
            is_sending,
            since,
            has_body: matches!(phase, Phase::Reading),
        })
    }

    /// When the connection ends unless it gets on: it may idle for `idle`, and a request's head may arrive for `request`. The
    /// time of a body and of an answer is others' to watch.
    pub(super) fn deadline(&self, idle: Duration, request: Duration) -> Option<Instant> {
        let State { phase, since, .. } = *self.state();
        match phase {
            Phase::Idle => Some(since + idle),
            Phase::Arriving => Some(since + request),
            Phase::Reading | Phase::Answering | Phase::Answered => None,
        }
    }

    /// Asks a silent connection to give its seat up.
    pub(super) fn ask_to_go(&self) {
        self.asked_to_go.notify_one();
    }

    /// Returns once the seat is asked for while the client is silent.
    pub(super) async fn to_go(&self) {
        loop {
            self.asked_to_go.notified().await;
            if self.silence().is_some() {
                return;
            }
        }
    }
}
