//! The complete model: nodes, one database, messages in flight, and the possible actions.
//!
//! There are no clocks. A statement that was sent is carried out at any later step or never. A
//! waiting node may give up at any step. A node that takes no step for a while models a frozen
//! process, which continues with its old state. So every timing of the real system is a path of the
//! model.

use crate::database::{Answer, Database, RecordId, Statement, Title};
use crate::enabled_checks::{EnabledChecks, Unknown};
use crate::node::{InFlight, Node, Reply, Role};
use crate::outside::{Consumer, FrontsAndClients, ReplyInFlight, records_of};

/// A configuration of the model: sizes, limits on faults, and the checks that are on.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The number of nodes. Any node may claim at any step.
    pub nodes: usize,
    /// The number of fronts. Clients send records through the first front, and ask for the state of
    /// the account through the last.
    pub fronts: usize,
    /// Number of records.
    pub records: usize,
    /// How often each record may be sent, to any of the nodes.
    pub sendings: u8,
    /// The number of questions that clients ask for the state of the account.
    pub questions: u8,
    /// The maximum number of claims, including those that fail.
    pub claims: u8,
    /// The maximum number of faults. A fault is a crash of a node, or a node that stops waiting for
    /// the answer to its statement.
    pub faults: u8,
    /// Whether nodes keep a replica of the log and follow the log.
    pub keeps_copy: bool,
    /// Whether an owner may release the partition on purpose (P13).
    pub hands_over: bool,
    /// Whether answers of the database may be delayed.
    pub slow_answers: bool,
    /// Whether replies to clients may be delayed.
    pub slow_replies: bool,
    /// The maximum number of failovers of the database to a replica that lags (P18).
    pub failovers: u8,
    /// Whether a consumer pulls from the feed.
    pub has_consumer: bool,
    /// Whether I7 is checked in every state, which takes long.
    pub checks_healing: bool,
    /// The only property to check; `None` checks all. If a single property is checked, the path to
    /// its violation is the shortest one.
    pub only: Option<&'static str>,
    /// The checks that are on.
    pub checks: EnabledChecks,
}

impl Protocol {
    /// A small configuration: two nodes, two records, one fault, no optional behaviour.
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
    /// Whether the sender still waits for the answer. A statement whose sender has given up is
    /// late: it may still be carried out.
    pub awaited: bool,
    /// Whether the statement has passed the check of the fence, so that only its insert is left.
    /// (This happens only in the mutant of P1, in which check and insert are two steps.)
    pub passed_fence: bool,
    /// The statement.
    pub statement: Statement,
}

/// An answer in flight from the database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Answered {
    /// The node that receives the answer.
    pub to: usize,
    /// Whether the node still waits for the answer.
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
    /// The state of fronts and clients: the answers that they received.
    pub outside: FrontsAndClients,
    /// The consumer of the feed.
    pub consumer: Consumer,
    /// The number of claims so far. The next claim id is derived from it, since no failover sets it
    /// back.
    pub claims: u8,
    /// The number of nodes that have claimed. Nodes are interchangeable, so node 0 claims first,
    /// then node 1: this leaves fewer states.
    pub joined: usize,
    /// The number of faults so far.
    pub faults: u8,
    /// The number of failovers of the database so far.
    pub failovers: u8,
}

/// A step from one state of the model to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client sends a record, for the first time or again, to a node that believes it is the
    /// owner.
    Submit(RecordId, usize),
    /// A client asks a node that believes it is the owner for the state of the account.
    Ask(usize),
    /// An owner sends its open segment, or a barrier.
    Send(usize),
    /// A node stops waiting for the database: the outcome is unknown (P2).
    GiveUp(usize),
    /// A process crashes and restarts without state.
    Crash(usize),
    /// A node reads the row and sends a claim.
    Claim(usize),
    /// A node whose claim succeeded reads the rest of the log, and serves.
    Recover(usize),
    /// A standby reads the segments of the log that its replica lacks.
    Follow(usize),
    /// An owner with no statement in flight, and nothing to send, releases the partition.
    Release(usize),
    /// The database carries a statement out.
    CarryOut(usize),
    /// A node receives the answer of the database.
    Hear(usize),
    /// A front receives a reply.
    Deliver(usize),
    /// The replica of the database receives everything that has committed.
    Replicate,
    /// The database replica is promoted: statements that were not replicated are lost.
    Failover,
    /// The consumer pulls the next segment from the feed.
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

    /// Marks all statements and answers of the node as not awaited. They stay in flight.
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
            // The statement failed or its outcome is unknown: the node steps down. To serve again,
            // it must claim the partition and then read the log.
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

    /// A record arrives at a node; if `record` is `None`, a query of the account's state arrives.
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

    /// Applies an action to this state.
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
