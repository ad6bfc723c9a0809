//! Plans that are written, so that a seed that failed becomes a test that can be read.

use std::time::Duration;

use tidegate_http::Config;

use crate::rng::Rng;
use crate::sim::plan::{
    Answer, BodyPlan, ExchangePlan, LinkPlan, MessagePlan, Plan, Signals, Split, without_limits,
};
use crate::sim::{Report, play};

/// Both ends, the network between them, and its faults.
impl Plan {
    /// Returns a plan in which nothing happens: default settings without timeouts, a network
    /// without delay, no messages, no faults. Faults are fields: `cut`, `shut_downs`, `abort`,
    /// `intrusion`, and the `stalls` of a link.
    pub fn quiet() -> Self {
        let link = LinkPlan {
            delay: Duration::ZERO,
            capacity: 1 << 20,
            split: Split::Whole,
            stalls: Vec::new(),
        };
        Self {
            client: without_limits(Config::client(), Duration::ZERO),
            server: without_limits(Config::server(), Duration::ZERO),
            links: [link.clone(), link],
            exchanges: Vec::new(),
            outbox_limit: 65_536,
            opens_early: false,
            cut: None,
            shut_downs: [None; 2],
            abort: None,
            window_changes: Vec::new(),
            server_ends: false,
            intrusion: 0,
            signals: Signals::default(),
        }
    }

    /// Changes the client's settings.
    pub fn client(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(&mut self.client);
        self
    }

    /// Changes the server's settings.
    pub fn server(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(&mut self.server);
        self
    }

    /// Changes both directions of the network.
    pub fn network(mut self, set: impl Fn(&mut LinkPlan)) -> Self {
        self.links.iter_mut().for_each(set);
        self
    }

    /// Adds a request and its response.
    pub fn exchange(mut self, exchange: ExchangePlan) -> Self {
        self.exchanges.push(exchange);
        self
    }

    /// Runs the plan once for each seed. A seed draws what the plan leaves open: how much is
    /// written at once, how long an arrival takes, where input is split. Returns the totals.
    ///
    /// # Panics
    /// Panics when a check fails. The seed is printed.
    pub fn run(&self, seeds: impl IntoIterator<Item = u64>) -> Report {
        let mut total = Report::default();
        for seed in seeds {
            let played = std::panic::catch_unwind(|| play(self.clone(), Rng::new(seed), false));
            match played {
                Ok(report) => total.add(&report),
                Err(panic) => {
                    eprintln!("the plan failed with what seed {seed} draws");
                    std::panic::resume_unwind(panic);
                }
            }
        }
        total
    }
}

/// A request and its response.
impl ExchangePlan {
    /// Returns a request without a body, which the client makes at once, and its response, 200
    /// without a body.
    pub fn new(method: &'static str) -> Self {
        Self {
            start: Duration::ZERO,
            method,
            request: MessagePlan::default(),
            response: MessagePlan::default(),
            status: 200,
            informs: 0,
            answer: Answer::OnEnd,
            pushes: Vec::new(),
            client_reset: None,
            server_reset: None,
            dawdle: Duration::ZERO,
        }
    }

    /// Lets the client make the request after this time.
    pub fn starts_at(mut self, when: Duration) -> Self {
        self.start = when;
        self
    }

    /// Sets the request.
    pub fn request(mut self, message: MessagePlan) -> Self {
        self.request = message;
        self
    }

    /// Sets the response.
    pub fn response(mut self, message: MessagePlan) -> Self {
        self.response = message;
        self
    }
}

/// A message.
impl MessagePlan {
    /// Returns a message whose body the owner writes piece by piece.
    pub fn streamed(len: usize) -> Self {
        Self {
            body: BodyPlan {
                streamed: true,
                start: 0,
                len,
            },
            ..Self::default()
        }
    }

    /// Adds a field to the head.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }
}
