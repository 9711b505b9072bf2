//! The complete model: nodes, one database, messages in flight, and the possible actions.
//!
//! There are no clocks. A statement that was sent is carried out sooner, later or never. A waiting
//! node may give up at any time. A node without actions for a while is a frozen node; it continues
//! with its old state. So every timing of the real system is a path of the model.

use crate::database::{Answer, Database, RecordId, Statement, Title};
use crate::enabled_checks::{EnabledChecks, Unknown};
use crate::node::{InFlight, Node, Reply, Role};
use crate::outside::{Consumer, FrontsAndClients, ReplyInFlight, records_of};

/// Sizes, fault limits, and the checks that are on.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// Number of nodes; any of them may claim at any time.
    pub nodes: usize,
    /// Number of fronts: records arrive through the first, questions through the last.
    pub fronts: usize,
    /// Number of records.
    pub records: usize,
    /// How often each record may be sent, to any of the nodes.
    pub sendings: u8,
    /// Number of questions for the account ("show").
    pub questions: u8,
    /// Maximum number of claims, lost ones included.
    pub claims: u8,
    /// Maximum number of crashes and of statements given up before their answer arrived.
    pub faults: u8,
    /// Nodes keep a replica of the log and follow it.
    pub keeps_copy: bool,
    /// Owners may hand over (P13).
    pub hands_over: bool,
    /// Answers of the database may be delayed.
    pub slow_answers: bool,
    /// Replies to clients may be delayed.
    pub slow_replies: bool,
    /// Number of asynchronous promotions of a database replica that lags (P18).
    pub failovers: u8,
    /// A consumer pulls from the feed.
    pub has_consumer: bool,
    /// Checks I7 in every state, which costs much time.
    pub checks_healing: bool,
    /// Check only this property; `None` checks all. The path to a violation of a single property is
    /// the shortest one.
    pub only: Option<&'static str>,
    /// The checks that are on.
    pub checks: EnabledChecks,
}

impl Protocol {
    /// Two nodes, two records, one fault, no optional behaviour.
    pub const fn small() -> Self {
        Self {
            nodes: 2,
            fronts: 1,
            records: 2,
            sendings: 2,
            questions: 0,
            claims: 3,
            faults: 1,
            keeps_copy: false,
            hands_over: false,
            slow_answers: false,
            slow_replies: false,
            failovers: 0,
            has_consumer: false,
            checks_healing: false,
            only: None,
            checks: EnabledChecks::ALL,
        }
    }
}

/// A statement in flight to the database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sent {
    /// The sending node.
    pub from: usize,
    /// The sender still waits for the answer. If not, the statement is late: it may still be
    /// carried out.
    pub awaited: bool,
    /// Mutant of P1: the statement has passed the check of the fence, and its insert follows later.
    pub passed_fence: bool,
    /// The statement.
    pub statement: Statement,
}

/// An answer in flight from the database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Answered {
    /// The node that receives it.
    pub to: usize,
    /// The node still waits for the answer.
    pub awaited: bool,
    /// The answer.
    pub answer: Answer,
}

/// A state of the whole system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The database that all nodes use.
    pub database: Database,
    /// The asynchronous replica of the database, with the statements that were replicated so far.
    pub replica: Option<Database>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Statements in flight, sorted.
    pub sent: Vec<Sent>,
    /// Answers in flight, sorted.
    pub answers: Vec<Answered>,
    /// Replies in flight, sorted.
    pub replies: Vec<ReplyInFlight>,
    /// Fronts and clients.
    pub outside: FrontsAndClients,
    /// The consumer of the feed.
    pub consumer: Consumer,
    /// Claims made so far. It is also the source of claim ids, since no failover rolls it back.
    pub claims: u8,
    /// The number of nodes that have claimed. Nodes are interchangeable, so the first to claim is
    /// node 0.
    pub joined: usize,
    /// Faults so far.
    pub faults: u8,
    /// Failovers so far.
    pub failovers: u8,
}

/// The next action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client sends a record, for the first time or again, to a node that believes it is the
    /// owner.
    Submit(RecordId, usize),
    /// A client sends a question for the account to a node that believes it is the owner.
    Ask(usize),
    /// An owner sends its open segment, or a barrier.
    Send(usize),
    /// A node stops waiting for the database: the outcome is unknown (P2).
    GiveUp(usize),
    /// A process crashes and restarts without state.
    Crash(usize),
    /// A node reads the row and sends a claim.
    Claim(usize),
    /// A node whose claim won reads the tail of the log.
    Recover(usize),
    /// A standby reads the next segments of the log.
    Follow(usize),
    /// An owner with no statement in flight releases the partition.
    Release(usize),
    /// The database carries a statement out.
    CarryOut(usize),
    /// A node receives the answer of the database.
    Hear(usize),
    /// A front receives a reply.
    Deliver(usize),
    /// The replica catches up.
    Replicate,
    /// The database replica is promoted: statements that were not replicated are lost.
    Failover,
    /// The consumer pulls.
    Pull,
}

impl State {
    /// The state before the first claim.
    pub fn new(protocol: &Protocol) -> Self {
        let database = Database::new();
        Self {
            replica: (protocol.failovers > 0).then(|| database.clone()),
            database,
            nodes: vec![Node::new(); protocol.nodes],
            sent: Vec::new(),
            answers: Vec::new(),
            replies: Vec::new(),
            outside: FrontsAndClients::new(protocol.records, protocol.fronts),
            consumer: Consumer::default(),
            claims: 0,
            joined: 0,
            faults: 0,
            failovers: 0,
        }
    }

    fn send(&mut self, from: usize, statement: Statement, awaited: bool) {
        self.sent.push(Sent { from, awaited, passed_fence: false, statement });
    }

    fn claim(&mut self, node: usize) {
        self.claims += 1;
        self.joined = self.joined.max(node + 1);
        self.nodes[node].role = Role::Claiming;
        let seen = self.database.row.title.epoch;
        self.send(node, Statement::Claim { seen, claim: self.claims }, true);
    }

    /// The node stops waiting for all its statements; the statements stay in flight.
    fn abandon(&mut self, node: usize) {
        for sent in self.sent.iter_mut().filter(|sent| sent.from == node) {
            sent.awaited = false;
        }
        for answered in self.answers.iter_mut().filter(|answered| answered.to == node) {
            answered.awaited = false;
        }
    }

    /// The node gives up its statement: the outcome is unknown (P2).
    fn give_up(&mut self, node: usize, protocol: &Protocol) {
        self.abandon(node);
        let is_owner = self.nodes[node].owner().is_some();
        match protocol.checks.unknown {
            Unknown::SendAgain if is_owner => self.nodes[node].take_back(),
            Unknown::ReadThenClaim if is_owner => {
                let copy = self.database.log.clone();
                self.nodes[node] = Node { copy, trusts_copy: true, role: Role::Standby };
            }
            _ => self.nodes[node].step_down(protocol.keeps_copy),
        }
    }

    fn release(&mut self, node: usize, protocol: &Protocol) {
        let Some(owner) = self.nodes[node].owner() else { return };
        let title = owner.title;
        self.send(node, Statement::Release { title }, false);
        self.nodes[node].step_down(protocol.keeps_copy);
    }

    fn carry_out(&mut self, index: usize, protocol: &Protocol) {
        let mut sent = self.sent.remove(index);
        let checks = &protocol.checks;
        let answer = match &sent.statement {
            // Mutant of P1: the fence check and the insert are two steps, with other actions in
            // between.
            Statement::Append(segment) if !checks.row_lock => {
                if sent.passed_fence {
                    self.database.insert(segment)
                } else if let Err(refused) = self.database.fence(segment, checks) {
                    refused
                } else {
                    sent.passed_fence = true;
                    self.sent.push(sent);
                    return;
                }
            }
            statement => self.database.carry_out(statement, checks),
        };
        let answered = Answered { to: sent.from, awaited: sent.awaited, answer };
        if protocol.slow_answers {
            self.answers.push(answered);
        } else {
            self.hear(answered, protocol);
        }
    }

    fn hear(&mut self, answered: Answered, protocol: &Protocol) {
        let Answered { to, awaited, answer } = answered;
        if !awaited {
            if protocol.checks.attempt_token || !self.nodes[to].awaits() {
                return;
            }
            // Mutant: a late answer is taken as the answer to the next statement, whose own answer
            // is lost.
            self.abandon(to);
        }
        let node = &mut self.nodes[to];
        match (&node.role, answer) {
            (Role::Claiming, Answer::Claimed { title, position }) => {
                node.role = Role::Claimed { title, position };
            }
            (Role::Owner(owner), Answer::Committed) => {
                let epoch = owner.title.epoch;
                let replies = node.committed();
                self.reply(epoch, replies, protocol);
            }
            (Role::Owner(owner), Answer::Ahead) if !protocol.checks.ahead_is_unknown => {
                let epoch = owner.title.epoch;
                let replies = node.committed();
                self.reply(epoch, replies, protocol);
            }
            // Fenced, rolled back, outrun, or unknown outcome: claim, then read.
            _ => node.step_down(protocol.keeps_copy),
        }
    }

    fn reply(&mut self, epoch: u8, replies: impl IntoIterator<Item = Reply>, protocol: &Protocol) {
        for reply in replies {
            let is_question = matches!(reply, Reply::Shown { .. });
            let front = if is_question { protocol.fronts - 1 } else { 0 };
            let in_flight = ReplyInFlight { front, epoch, reply };
            if protocol.slow_replies {
                self.replies.push(in_flight);
            } else {
                self.outside.deliver(&in_flight, &self.database.log, &protocol.checks);
            }
        }
    }

    /// A record, or a question, arrives at a node.
    fn ask(&mut self, node: usize, record: Option<RecordId>, protocol: &Protocol) {
        let acknowledged = self.outside.acknowledged();
        let asked = &mut self.nodes[node];
        let Some(Title { epoch, .. }) = asked.owner().map(|owner| owner.title) else { return };
        let at_once = match record {
            Some(record) => asked.take(record, &protocol.checks),
            None => asked.show(acknowledged, &protocol.checks),
        };
        self.reply(epoch, at_once, protocol);
    }

    fn failover(&mut self, protocol: &Protocol) {
        self.failovers += 1;
        if protocol.checks.fronts_start_anew {
            self.outside.highest.fill(0);
        }
        if let Some(replica) = &self.replica {
            self.database = replica.clone();
        }
        let log = &self.database.log;
        self.outside.forget_lost(log);
        for node in &mut self.nodes {
            node.forget_lost(records_of(log));
        }
    }

    fn pull(&mut self, protocol: &Protocol) {
        let log = &self.database.log;
        if protocol.checks.feed_after_commit {
            return self.consumer.pull(log, &protocol.checks);
        }
        // Mutant of P6: the feed includes uncommitted segments from an owner's memory.
        for node in &self.nodes {
            let in_flight = node.owner().and_then(|owner| owner.in_flight.as_ref());
            if let Some(InFlight { segment: Some(segment), .. }) = in_flight {
                let mut seen = node.copy.clone();
                seen.push(segment.clone());
                self.consumer.pull(&seen, &protocol.checks);
            }
        }
    }

    /// Applies an action.
    pub fn step(&mut self, action: &Action, protocol: &Protocol) {
        match *action {
            Action::Submit(record, node) => {
                self.outside.sent[usize::from(record)] += 1;
                self.ask(node, Some(record), protocol);
            }
            Action::Ask(node) => {
                self.outside.asked += 1;
                self.ask(node, None, protocol);
            }
            Action::Send(node) => {
                if let Some(statement) = self.nodes[node].send() {
                    self.send(node, statement, true);
                }
            }
            Action::GiveUp(node) => {
                self.faults += 1;
                self.give_up(node, protocol);
            }
            Action::Crash(node) => {
                self.faults += 1;
                self.abandon(node);
                self.nodes[node] = Node::new();
            }
            Action::Claim(node) => self.claim(node),
            Action::Recover(node) => {
                let Self { nodes, database, .. } = self;
                nodes[node].recover(&database.log, protocol.keeps_copy, &protocol.checks);
            }
            Action::Follow(node) => {
                self.nodes[node].follow(&self.database.log, &protocol.checks);
            }
            Action::Release(node) => self.release(node, protocol),
            Action::CarryOut(index) => self.carry_out(index, protocol),
            Action::Hear(index) => {
                let answered = self.answers.remove(index);
                self.hear(answered, protocol);
            }
            Action::Deliver(index) => {
                let in_flight = self.replies.remove(index);
                self.outside.deliver(&in_flight, &self.database.log, &protocol.checks);
            }
            Action::Replicate => self.replica = Some(self.database.clone()),
            Action::Failover => self.failover(protocol),
            Action::Pull => self.pull(protocol),
        }
        self.sent.sort();
        self.answers.sort();
        self.replies.sort();
    }
}
