//! Moves time on, makes the faults, mends them, and has the cluster judged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use raftstore::environment::Random;
use turmoil::Sim;

use super::network::host_name;
use super::order::Order;
use super::plan::{Cut, Fault, Plan, Scenario};
use super::process;
use super::verdict;
use super::watch::Watch;
use super::world::{End, Shared, World, digest};
use super::{Report, Run};
use crate::checker::classes::Happened;

/// How long the cluster may take to come together at the beginning, and to heal at the end.
const HEAL_MAX: Duration = Duration::from_secs(60);
/// How long faults go on.
const SUFFERING: Duration = Duration::from_secs(7);
/// A fault is made only while so many operations are acknowledged in so much time: 100 a second.
const BEFORE_A_FAULT: (u64, Duration) = (30, Duration::from_millis(300));
/// When that is not so for this time, everything is mended first.
const PATIENCE: Duration = Duration::from_secs(2);
/// Operations that the healed cluster must acknowledge.
const AFTER_HEALING: u64 = 30;
/// Clients that are told to end have ended after this time.
const LAST_WORDS: Duration = Duration::from_millis(2600);
/// Messages take between these times.
const LATENCY: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(4));

/// A simulation that runs.
pub(super) struct Driver {
    run: Run,
    sim: Sim<'static>,
    shared: Shared,
    watch: Arc<Watch>,
    plan: Plan,
    /// When which machine is switched on again.
    restarts: BTreeMap<u64, Duration>,
    /// Faults to mend, by time.
    mends: Vec<(Duration, Fault)>,
    /// A node that is being taken out and let in again.
    leaving: Option<Leaving>,
    /// Nodes that were taken out and may be out still: whoever is let in again learns, and votes at the end.
    left: BTreeSet<u64>,
    faults: BTreeMap<String, u64>,
    healing: Duration,
    verdict: verdict::Verdict,
}

/// The steps of leaving and coming back.
struct Leaving {
    node: u64,
    /// The order that is being carried out, and by whom.
    waiting: Option<(u64, u64)>,
    out: bool,
}

impl Driver {
    /// Sets machines, network and plan up.
    pub(super) fn new(run: &Run) -> Self {
        let mut random = Random::new(digest(run.seed, &run.nodes.to_le_bytes()));
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(random.number())
            .simulation_duration(Duration::from_secs(3600))
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(LATENCY.0)
            .max_message_latency(LATENCY.1)
            .tcp_capacity(1 << 14)
            .enable_random_order();
        let mut sim = builder.build();
        let shared = Shared::new(World::new(run.nodes, run.seed, run.keep_trace), run.seed);
        let watch = Arc::new(Watch::new(shared.clone(), random.fork()));
        shared.faults.set_watcher(watch.clone());
        for node in 1..=run.nodes {
            let shared = shared.clone();
            sim.host(host_name(node), move || process::run(shared.clone(), node));
        }
        let plan = Plan::new(random.fork(), run.nodes, run.seed);
        Self {
            run: *run,
            sim,
            shared,
            watch,
            plan,
            restarts: BTreeMap::new(),
            mends: Vec::new(),
            leaving: None,
            left: BTreeSet::new(),
            faults: BTreeMap::new(),
            healing: Duration::ZERO,
            verdict: verdict::Verdict::default(),
        }
    }

    /// Makes the whole run.
    pub(super) fn run(&mut self) -> Result<(), String> {
        self.come_together()?;
        self.suffer()?;
        self.heal()?;
        self.verdict = self.shared.with(verdict::judge);
        Ok(())
    }

    /// What came of it.
    pub(super) fn report(&self) -> Report {
        self.shared.with(|world| {
            let mut broken = world.broken.clone();
            broken.extend(self.verdict.broken.iter().cloned());
            Report {
                acknowledged: world.acknowledged,
                faults: self.faults.clone(),
                points: self.watch.counts(),
                majority_losses: world.happened.losses().len() as u64,
                bound: self.verdict.bound,
                excused: self.verdict.excused,
                simulated: world.now,
                healing: self.healing,
                trace: world.trace.digest(),
                lines: world.trace.take_lines(),
                broken,
            }
        })
    }

    fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    fn nodes(&self) -> BTreeSet<u64> {
        (1..=self.run.nodes).collect()
    }

    /// One tick; then what ended is cleared away, and what has to start is started.
    fn step(&mut self) -> Result<(), String> {
        self.sim.step().map_err(|error| format!("the simulation broke: {error}"))?;
        let now = self.now();
        let (ends, broken) = self.shared.with(|world| {
            world.now = now;
            (std::mem::take(&mut world.ends), world.broken.len())
        });
        // What comes after a broken promise proves nothing.
        if broken > 0 {
            return Err("the run ends here".to_owned());
        }
        for (node, end) in ends {
            self.clear_away(node, end);
            let when = now + self.plan.absence();
            self.restarts.insert(node, when);
        }
        let due: Vec<u64> = self.restarts.iter().filter(|(_, when)| **when <= now).map(|(node, _)| *node).collect();
        for node in due {
            self.restarts.remove(&node);
            self.sim.bounce(host_name(node));
        }
        Ok(())
    }

    fn clear_away(&mut self, node: u64, end: End) {
        let name = host_name(node);
        let others: Vec<u64> = self.nodes().into_iter().filter(|other| *other != node).collect();
        // Without power nobody says goodbye.
        if end == End::PowerLost {
            others.iter().for_each(|other| self.sim.partition(name.as_str(), host_name(*other)));
        }
        self.sim.crash(name.as_str());
        if end == End::PowerLost {
            others.iter().for_each(|other| self.sim.repair(name.as_str(), host_name(*other)));
            self.cut_again();
        }
    }

    /// Steps until something is so, for a limited time.
    fn until(&mut self, limit: Duration, what: &str, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), String> {
        let end = self.now() + limit;
        while !done(self) {
            if self.now() >= end {
                let seen = self.shared.with(|world| describe(world));
                return Err(format!("after {limit:?} there is still no {what}: {seen}"));
            }
            self.step()?;
        }
        Ok(())
    }

    fn for_a_while(&mut self, time: Duration) -> Result<(), String> {
        let end = self.now() + time;
        while self.now() < end {
            self.step()?;
        }
        Ok(())
    }

    /// The leader on which most agree.
    fn leader(&self) -> Option<u64> {
        self.shared.with(|world| {
            let seen = world.hosts.values().filter_map(|host| host.status.as_ref()?.leader);
            seen.max().map(|leader| leader.node_id)
        })
    }

    fn order(&mut self, node: u64, order: Order) -> Option<u64> {
        self.shared.with(|world| world.order(node, order))
    }

    /// Has an order carried out by whoever can, until it is.
    fn insist(&mut self, order: Order, limit: Duration) -> Result<(), String> {
        let mut asked: Option<(u64, u64)> = None;
        self.until(limit, &format!("{order:?}"), |driver| {
            let answer = asked.and_then(|(_, number)| driver.shared.with(|world| world.answers.remove(&number)));
            if answer == Some(Ok(())) {
                return true;
            }
            let lost = asked.is_none_or(|(node, _)| driver.shared.with(|world| world.host(node).orders.is_none()));
            if answer.is_some() || lost {
                let node = if order == Order::Bootstrap { Some(1) } else { driver.leader() };
                asked = node.and_then(|node| driver.order(node, order).map(|number| (node, number)));
            }
            false
        })
    }

    fn come_together(&mut self) -> Result<(), String> {
        let all = self.nodes();
        self.shared.with(|world| world.happened.note(0, Happened::Voters(vec![all])));
        self.insist(Order::Bootstrap, HEAL_MAX)?;
        for node in 2..=self.run.nodes {
            self.insist(Order::AddLearner(node), HEAL_MAX)?;
            self.insist(Order::Promote(node), HEAL_MAX)?;
        }
        self.until(HEAL_MAX, "operation acknowledged", |driver| driver.acknowledged() > 0)
    }

    fn acknowledged(&self) -> u64 {
        self.shared.with(|world| world.acknowledged)
    }

    fn suffer(&mut self) -> Result<(), String> {
        self.watch.set_active(true);
        let end = self.now() + if self.run.scenario.is_some() { HEAL_MAX } else { SUFFERING };
        let (mut next, mut last, mut recent, mut made) = (self.now(), self.now(), VecDeque::new(), 0);
        while self.now() < end {
            let now = self.now();
            self.mend_what_is_due(now);
            self.go_on_leaving();
            recent.push_back((now, self.acknowledged()));
            while recent.front().is_some_and(|(when, _)| *when + BEFORE_A_FAULT.1 < now) {
                recent.pop_front();
            }
            let lively = recent.front().zip(recent.back()).is_some_and(|((_, then), (_, now))| now - then >= BEFORE_A_FAULT.0);
            let ready = self.run.scenario != Some(Scenario::OneAfterTheOther) || self.everybody_is_well();
            if now >= next && lively && ready {
                let leader = self.leader();
                let drawn = match self.run.scenario {
                    Some(scenario) => scenario.fault(made, leader.unwrap_or(1), self.run.nodes),
                    None => Some((self.plan.draw(leader), self.plan.duration())),
                };
                // The last fault of a scenario is followed by the end of suffering.
                let Some((fault, time)) = drawn else { return Ok(()) };
                self.make(fault, time);
                made += 1;
                last = now;
                next = now + self.plan.pause();
            } else if now > last + PATIENCE && self.run.scenario.is_none() {
                // Nothing gets through any more: breaking more of it would show nothing.
                self.mend_everything();
                self.watch.set_active(true);
                last = now;
            }
            self.step()?;
        }
        Ok(())
    }

    fn make(&mut self, fault: Fault, time: Duration) {
        *self.faults.entry(fault.kind().to_owned()).or_default() += 1;
        self.shared.with(|world| world.say(format!("fault: {fault:?}")));
        let until = self.now() + time;
        match &fault {
            Fault::Partition { .. } | Fault::OneWay { .. } => {
                self.mends.push((until, fault));
                self.cut_again();
                return;
            }
            Fault::Slow { node, longest } => self.set_latency(*node, *longest),
            Fault::Kill(nodes) => {
                let running = self.running(nodes);
                return self.shared.with(|world| world.end(&running, End::Killed));
            }
            Fault::PowerLoss(nodes) => return self.shared.with(|world| world.end(nodes, End::PowerLost)),
            Fault::ClockRate { node, ppm } => {
                self.order(*node, Order::ClockRate(*ppm));
            }
            Fault::ClockJump { node, ahead } => {
                self.order(*node, Order::ClockJump(*ahead));
                return;
            }
            Fault::Transfer(node) => {
                if let Some(leader) = self.leader() {
                    self.order(leader, Order::Transfer(*node));
                }
                return;
            }
            Fault::Snapshot(node) => {
                self.order(*node, Order::Snapshot);
                return;
            }
            Fault::Leave(node) => {
                if self.leaving.is_none() && self.leader() != Some(*node) {
                    self.leaving = Some(Leaving { node: *node, waiting: None, out: false });
                }
                return;
            }
            Fault::DiskFull(node) => self.shared.with(|world| {
                let disk = &world.host(*node).disk;
                disk.set_capacity(Some(disk.allocated()));
            }),
            Fault::DiskError { node, operation, nth } => {
                return self.shared.with(|world| world.host(*node).disk.fail(*operation, *nth));
            }
            Fault::SlowDisk { node, longest } => {
                self.shared.with(|world| world.host(*node).disk.set_sync_time(*longest / 10, *longest));
            }
            Fault::Trap(trap) => return self.watch.set(*trap),
        }
        self.mends.push((until, fault));
    }

    fn running(&self, nodes: &BTreeSet<u64>) -> BTreeSet<u64> {
        self.shared.with(|world| nodes.iter().copied().filter(|node| world.host(*node).life.is_some()).collect())
    }

    fn set_latency(&mut self, node: u64, longest: Duration) {
        for other in self.nodes() {
            if other != node {
                self.sim.set_link_max_message_latency(host_name(node), host_name(other), longest);
            }
        }
    }

    fn mend_what_is_due(&mut self, now: Duration) {
        let (due, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.mends).into_iter().partition(|(when, _)| *when <= now);
        self.mends = left;
        for (_, fault) in due {
            self.mend(&fault);
        }
    }

    fn mend(&mut self, fault: &Fault) {
        self.shared.with(|world| world.say(format!("mended: {fault:?}")));
        match fault {
            Fault::Partition { .. } | Fault::OneWay { .. } => self.cut_again(),
            Fault::Slow { node, .. } => self.set_latency(*node, LATENCY.1),
            Fault::ClockRate { node, .. } => {
                self.order(*node, Order::ClockRate(0));
            }
            Fault::DiskFull(node) => self.shared.with(|world| world.host(*node).disk.set_capacity(None)),
            Fault::SlowDisk { node, .. } => {
                self.shared.with(|world| world.host(*node).disk.set_sync_time(Duration::ZERO, Duration::ZERO));
            }
            _ => {}
        }
    }

    /// Makes the links what the present faults say.
    fn cut_again(&mut self) {
        let all = self.nodes();
        for (&from, &to) in all.iter().flat_map(|from| all.iter().map(move |to| (from, to))).filter(|(from, to)| from < to) {
            self.sim.repair(host_name(from), host_name(to));
            self.sim.release(host_name(from), host_name(to));
        }
        self.shared.faults.heal();
        let mut cut = BTreeSet::new();
        for (_, fault) in &self.mends {
            match fault {
                Fault::Partition { side, how } => {
                    for &one in side {
                        for &other in all.difference(side) {
                            cut.extend([(one, other), (other, one)]);
                            match how {
                                Cut::Held => self.sim.hold(host_name(one), host_name(other)),
                                Cut::Dropped => self.sim.partition(host_name(one), host_name(other)),
                                Cut::Vanished => self.shared.faults.isolate(one, &[other]),
                            }
                        }
                    }
                }
                Fault::OneWay { from, to } => {
                    cut.insert((*from, *to));
                    self.shared.faults.cut(*from, *to);
                }
                _ => {}
            }
        }
        self.shared.with(|world| world.cut = cut);
    }

    fn mend_everything(&mut self) {
        self.watch.set_active(false);
        for (_, fault) in std::mem::take(&mut self.mends) {
            self.mend(&fault);
        }
        let now = self.now();
        self.restarts.values_mut().for_each(|when| *when = (*when).min(now));
    }

    /// Takes the next step of a change of the membership.
    fn go_on_leaving(&mut self) {
        let Some(mut leaving) = self.leaving.take() else { return };
        let node = leaving.node;
        if let Some((by, number)) = leaving.waiting {
            let (answer, gone) = self.shared.with(|world| (world.answers.remove(&number), world.host(by).orders.is_none()));
            match answer {
                Some(Ok(())) if !leaving.out => {
                    leaving.out = true;
                    leaving.waiting = None;
                }
                // Whoever is in, or not known to be out, is let in again at the end in any case.
                Some(_) => return,
                None if gone => return,
                None => {}
            }
        }
        if leaving.waiting.is_none() {
            let all = self.nodes();
            if !leaving.out {
                self.left.insert(node);
                let groups = possible_groups(&all, &self.left);
                self.shared.with(|world| {
                    let at = world.history.now();
                    world.happened.note(at, Happened::Voters(groups));
                });
            }
            let order = if leaving.out { Order::AddLearner(node) } else { Order::Remove(node) };
            let Some(leader) = self.leader() else {
                self.leaving = Some(leaving);
                return;
            };
            leaving.waiting = self.order(leader, order).map(|number| (leader, number));
        }
        self.leaving = Some(leaving);
    }

    fn leaving_is_settled(&mut self) -> bool {
        let Some((by, number)) = self.leaving.as_ref().and_then(|leaving| leaving.waiting) else { return true };
        self.shared.with(|world| world.answers.contains_key(&number) || world.host(by).orders.is_none())
    }

    fn heal(&mut self) -> Result<(), String> {
        self.mend_everything();
        self.shared.with(|world| world.say("everything is mended".to_owned()));
        let begin = self.now();
        let (all, deadline) = (self.nodes(), HEAL_MAX);
        // A removal that is under way must be over before its node is let in again.
        self.until(HEAL_MAX * 2, "end of a change of the membership", |driver| driver.leaving_is_settled())?;
        // A node that was taken out hears from nobody before it is let in again.
        for &node in &all {
            self.insist(Order::AddLearner(node), deadline)?;
            self.insist(Order::Promote(node), deadline)?;
        }
        let voters = all.clone();
        self.until(deadline, "complete group of voters", move |driver| {
            driver.everybody_is_well()
                && driver.shared.with(|world| world.hosts.values().all(|host| votes(host.status.as_ref()) == Some(voters.clone())))
        })?;
        self.healing = self.now() - begin;
        let before = self.acknowledged();
        self.until(deadline, "progress", |driver| driver.acknowledged() >= before + AFTER_HEALING)?;
        self.shared.with(|world| world.clients_go_on = false);
        self.for_a_while(LAST_WORDS)?;
        for &node in &all {
            let number = self.order(node, Order::ReadAll).ok_or("a healed node takes no orders")?;
            self.until(deadline, "read of everything", |driver| driver.shared.with(|world| world.answers.contains_key(&number)))?;
            let answer = self.shared.with(|world| world.answers.remove(&number));
            if let Some(Err(because)) = answer {
                return Err(format!("node {node} cannot read after healing: {because}"));
            }
        }
        Ok(())
    }

    /// Everybody runs, follows the same leader, and is in no doubt.
    fn everybody_is_well(&self) -> bool {
        self.shared.with(|world| {
            let statuses: Option<Vec<_>> = world.hosts.values().map(|host| host.status.as_ref()).collect();
            let Some(statuses) = statuses else { return false };
            let leader = statuses[0].leader;
            leader.is_some() && statuses.iter().all(|status| status.leader == leader && !status.in_doubt && status.stopped.is_none())
        })
    }
}

/// Every group of voters that there may be when each of some nodes may have been taken out.
fn possible_groups(all: &BTreeSet<u64>, left: &BTreeSet<u64>) -> Vec<BTreeSet<u64>> {
    left.iter().fold(vec![all.clone()], |groups, node| {
        let without = groups.iter().map(|group| group.iter().copied().filter(|member| member != node).collect());
        groups.iter().cloned().chain(without).collect()
    })
}

fn votes(status: Option<&raftstore::Status>) -> Option<BTreeSet<u64>> {
    Some(status?.members.iter().filter(|(_, member)| member.voter).map(|(node, _)| *node).collect())
}

fn describe(world: &World) -> String {
    let host = |(node, host): (&u64, &super::world::Host)| match &host.status {
        Some(status) => format!(
            "node {node}: {:?}, term {}, leader {:?}, log to {}, committed {}, applied {}, in doubt {}, voters {:?}",
            status.role,
            status.term,
            status.leader.map(|leader| leader.node_id),
            status.last_log,
            status.committed,
            status.applied,
            status.in_doubt,
            votes(Some(status)).unwrap_or_default(),
        ),
        None => format!("node {node}: {:?}", host.end),
    };
    world.hosts.iter().map(host).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_was_taken_out_may_be_missing_in_every_later_group() {
        let groups = possible_groups(&BTreeSet::from([1, 2, 3]), &BTreeSet::from([2, 3]));
        let expected: Vec<BTreeSet<u64>> =
            [&[1, 2, 3][..], &[1, 3], &[1, 2], &[1]].iter().map(|group| group.iter().copied().collect()).collect();
        assert_eq!(groups, expected);
    }
}
