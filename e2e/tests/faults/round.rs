//! Some faults over fresh rooms, and the check of all that happened meanwhile. Long runs are many rounds, so that what is to be
//! remembered and read again in the end stays small, and a broken promise is found near its cause.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt as _, rngs::StdRng};
use rookery_e2e::{
    history::{self, Deed, Truth, What, check, check_accounts, check_log, evidence, excused},
    http::Api,
    load::{self, Load, Manners, Meter, Return},
    service::Service,
    ws::Subprotocol,
};
use rookery_testbed::{Cluster, Fault};
use tokio::{runtime::Runtime, task::JoinHandle};

use crate::{
    disk::Disk,
    plan::{Step, node_of},
    report::{Outcome, Report},
};

pub(crate) const ROOMS: usize = 6;
/// Name of the cluster, as `ClusterOptions` has it by default.
pub(crate) const CLUSTER: &str = "rookery";
/// How long a room may stand still after everything was put right.
const BOUND: Duration = Duration::from_secs(60);
/// A draining node has so long until it is killed.
const DRAIN: Duration = Duration::from_secs(45);
/// When NATS servers reach each other again, streams may be without a leader once more some seconds later: that belongs to the cut, and not to
/// the next fault.
const AFTERMATH: Duration = Duration::from_secs(10);

/// A fault, for how long, and which rooms its node owns; `None`: it is not done to one node.
type Prepared = ((Fault, Duration), Option<Vec<usize>>);

/// A round that has begun.
pub(crate) struct Round<'a> {
    number: usize,
    cluster: &'a Cluster,
    runtime: &'a Runtime,
    load: Arc<Load>,
    meter: Arc<Meter>,
    clients: Vec<JoinHandle<()>>,
    urls: Vec<String>,
    disk: Disk,
    /// From when to when there were faults that are no drains.
    others: RefCell<Vec<(Duration, Duration)>>,
}

impl<'a> Round<'a> {
    /// Makes rooms and clients, and lets them go.
    pub(crate) fn begin(
        number: usize,
        cluster: &'a Cluster,
        runtime: &'a Runtime,
        random: &mut StdRng,
    ) -> Self {
        let service = Service::of_cluster(cluster);
        let urls = cluster.urls();
        let manners = Manners {
            urls: urls.clone(),
            give_up: Duration::from_secs(6),
            pause: Duration::from_millis(250),
        };
        let seed: u64 = random.random();
        let (load, meter, clients) = runtime.block_on(async {
            let load = Arc::new(Load::new(&service, ROOMS).await);
            let mut clients = Vec::new();
            for (number, subprotocol) in (0..6).zip(Subprotocol::BOTH.into_iter().cycle()) {
                let user = load.member(&service, "socket").await;
                let seed = seed ^ (number << 32);
                clients.push(tokio::spawn(load::run_socket(
                    load.clone(),
                    user,
                    subprotocol,
                    manners.clone(),
                    seed,
                )));
            }
            for number in 0..2 {
                let user = load.member(&service, "caller").await;
                let seed = seed ^ ((100 + number) << 32);
                clients.push(tokio::spawn(load::run_http(load.clone(), user, manners.clone(), seed)));
            }
            clients.push(tokio::spawn(load::run_registrar(
                load.clone(),
                manners.clone(),
                seed ^ (200 << 32),
            )));
            let user = load.member(&service, "meter").await;
            let meter = Meter::new(&load, user, urls.clone());
            clients.extend((0..ROOMS).map(|room| tokio::spawn(meter.clone().run(room))));
            (load, meter, clients)
        });
        let (disk, others) = (Disk::watch(), RefCell::default());
        Self { number, cluster, runtime, load, meter, clients, urls, disk, others }
    }

    /// Does one step and puts it right.
    ///
    /// # Errors
    /// The cluster did not come back.
    pub(crate) fn step(&self, step: Step, report: &mut Report) -> Result<(), String> {
        assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client gave up");
        if let Step::Rolling = step {
            return (0..self.urls.len()).try_for_each(|node| {
                let (fault, owned) = self.prepare(|_| Ok((Fault::DrainNode(node), Duration::ZERO)), false)?;
                self.fault(step.kind(), fault, owned, report)
            });
        }
        let of = |owners: &[usize]| step.fault(self.cluster, &self.load.rooms, owners);
        let (fault, owned) = self.prepare(of, matches!(step, Step::Owner(..)))?;
        self.fault(step.kind(), fault, owned, report)
    }

    /// Waits until all is well, and returns which fault it is to be and which rooms its node owns then; an owner of some, if
    /// that `must` be.
    fn prepare(
        &self,
        of: impl Fn(&[usize]) -> Result<(Fault, Duration), String>,
        must: bool,
    ) -> Result<Prepared, String> {
        let until = Instant::now() + BOUND;
        loop {
            let (fault, hold) = of(&self.owners()?)?;
            // Over a node that nothing is done to.
            let asked = node_of(fault).map_or(0, |node| (node + 1) % self.urls.len());
            let asked = if let Fault::Part(_, other) = fault {
                3 - node_of(fault).unwrap_or(0) - other
            } else {
                asked
            };
            self.meter.progress(asked, BOUND).map_err(|rooms| stuck(fault, "before it", &rooms))?;
            // Rooms may have come back to a node that was started again meanwhile.
            let owners = self.owners()?;
            let of = |node| (0..owners.len()).filter(|&room| owners[room] == node).collect();
            let owned: Option<Vec<usize>> = node_of(fault).map(of);
            if owned.as_ref().is_none_or(|owned| !owned.is_empty()) || !must {
                return Ok(((fault, hold), owned));
            }
            if Instant::now() >= until {
                return Err(format!("{fault}: the rooms' owners changed all the time"));
            }
        }
    }

    /// The node that owns each room: who wrote its last record.
    fn owners(&self) -> Result<Vec<usize>, String> {
        let names = self.runtime.block_on(patiently(
            "the rooms' owners",
            async |client| load::owners(client, CLUSTER, &self.load.rooms).await,
            self.cluster,
        ))?;
        let number = |name: &String| name.strip_prefix("node-").and_then(|number| number.parse().ok());
        names.iter().map(|name| number(name).ok_or_else(|| format!("{name} is none of the nodes"))).collect()
    }

    fn fault(
        &self,
        kind: &'static str,
        (fault, hold): (Fault, Duration),
        owned: Option<Vec<usize>>,
        report: &mut Report,
    ) -> Result<(), String> {
        let (began, clock) = (self.load.now(), Instant::now());
        report.begun += 1;
        fault.begin(self.cluster);
        let mut status = None;
        if let Fault::DrainNode(node) = fault {
            status = self.cluster.nodes()[node].process().wait(DRAIN);
        }
        std::thread::sleep(hold);
        // Clients can do something about a dead node at once, and need not wait until it is back.
        let patience =
            if matches!(fault, Fault::KillNode(_)) { Duration::from_secs(15) } else { Duration::ZERO };
        let meanwhile = self.meter.writes_after(began, patience).is_ok();
        fault.end(self.cluster);
        let ended = self.load.now();
        self.put_right(fault)?;
        let righted = self.load.now();
        if matches!(fault, Fault::CutOffNats(_)) {
            std::thread::sleep(AFTERMATH);
            self.put_right(fault)?;
        }
        let healed = self.load.now();
        let mut refused = 0;
        if let Fault::DrainNode(node) = fault {
            refused = self.load.refusals_of(&self.urls[node], began, healed);
        } else {
            self.others.borrow_mut().push((began, healed));
        }
        let (waits, failed) = self.meter.between(began, healed);
        let longest =
            waits.iter().zip(&self.load.rooms).max().map_or_else(String::new, |((_, due), room)| {
                format!(" of {room} from {:?} on", due.saturating_sub(began))
            });
        let mut waits: Vec<Duration> = waits.into_iter().map(|(wait, _)| wait).collect();
        let own = owned.as_ref().and_then(|owned| owned.iter().map(|&room| waits[room]).max());
        let count = owned.as_ref().map(Vec::len);
        waits.sort_unstable();
        println!(
            "{:>4}.{:<3} {fault}, {hold:?}{}: worst wait {:?}{longest}, {failed} failed{}, put right in {:?}{}",
            self.number,
            report.outcomes.len() + 1,
            count.map_or_else(String::new, |count| {
                format!(", owner of {count} rooms that waited {:?}", own.unwrap_or_default())
            }),
            waits.last().copied().unwrap_or_default(),
            if refused > 0 { format!(", {refused} refused") } else { String::new() },
            righted - ended,
            if meanwhile { "" } else { "; not written meanwhile" },
        );
        if matches!(fault, Fault::DrainNode(_)) && !status.is_some_and(|status| status.success()) {
            report.broken.push(format!("{fault}: ended with {status:?} instead of 0 within {DRAIN:?}"));
        }
        let disk = self.disk.longest(clock);
        let calm = match owned {
            Some(rooms) if matches!(fault, Fault::DrainNode(_)) => self.calm(&rooms, righted - began)?,
            _ => None,
        };
        let healed = righted - ended;
        report.outcomes.push(Outcome {
            kind,
            owned: count,
            own,
            calm,
            waits,
            failed,
            refused,
            healed,
            meanwhile,
            disk,
        });
        Ok(())
    }

    /// What these rooms wait for at most in so long a time in which nothing is done to anybody.
    fn calm(&self, rooms: &[usize], time: Duration) -> Result<Option<Duration>, String> {
        // What was due before has been waited for then.
        let stuck = |rooms: Vec<String>| format!("in a calm moment {rooms:?} stood still for {BOUND:?}");
        self.meter.writes_after(self.load.now(), BOUND).map_err(stuck)?;
        let from = self.load.now();
        std::thread::sleep(time);
        let (waits, _) = self.meter.between(from, from + time);
        Ok(rooms.iter().map(|&room| waits[room].0).max())
    }

    /// Waits until every room is written through every node.
    fn put_right(&self, fault: Fault) -> Result<(), String> {
        for node in 0..self.urls.len() {
            if let Err(rooms) = self.meter.progress(node, BOUND) {
                self.tell_state();
                return Err(stuck(fault, &format!("over node-{node}"), &rooms));
            }
        }
        Ok(())
    }

    /// What the nodes count about rooms and each other, for whoever looks for the cause.
    fn tell_state(&self) {
        for (index, node) in self.cluster.nodes().iter().enumerate() {
            let metrics = self.runtime.block_on(Api::new(&node.management_url()).get("/metrics")).body;
            for line in metrics.as_str().unwrap_or_default().lines() {
                if ["rooms_", "peer_"].iter().any(|part| line.contains(part))
                    && !line.contains("_bucket")
                    && !line.starts_with('#')
                {
                    println!("     node-{index}: {line}");
                }
            }
        }
    }

    /// Looks whether rooms of a round that cannot go on stand still because their logs are broken.
    pub(crate) fn look_at_logs(&self, report: &mut Report) {
        let read = async |client| load::read_log(client, CLUSTER, &self.load.rooms).await;
        match self.runtime.block_on(patiently("the logs", read, self.cluster)) {
            Ok(logs) => {
                for (room, records) in logs {
                    let mut faults = check_log(&room, &records, &[]);
                    // The round did not come to where the nodes are asked what they tell of it.
                    faults.retain(|fault| !matches!(fault, history::Fault::LogDiffers { .. }));
                    faults.iter().for_each(|fault| println!("BROKEN {fault:?}"));
                    let told = faults.iter().map(|fault| format!("round {}: {fault:?}", self.number));
                    report.broken.extend(told);
                }
            }
            Err(why) => report.broken.push(format!("round {}: {why}", self.number)),
        }
    }

    /// Lets the clients finish and checks what they saw.
    ///
    /// # Errors
    /// Some did not finish.
    pub(crate) fn end(self, report: &mut Report) -> Result<(), String> {
        self.runtime.block_on(async {
            let url = &self.urls[0];
            let login = async || self.load.founder.try_login(url).await;
            let reader = rookery_e2e::eventually("a reader is let in", login).await;
            self.load.finish(&reader, BOUND).await?;
            for client in self.clients {
                match tokio::time::timeout(BOUND, client).await {
                    Ok(ended) => ended.expect("a client ends without a complaint of its own"),
                    Err(_) => return Err("a client was not answered in the end".to_owned()),
                }
            }
            Ok(())
        })?;
        let truths: Vec<Truth> = self
            .urls
            .iter()
            .map(|url| {
                self.runtime.block_on(async {
                    let login = async || self.load.founder.try_login(url).await;
                    let reader = rookery_e2e::eventually("a reader is let in", login).await;
                    let truth = load::read_truth(&reader, &self.load.rooms).await;
                    load::compare_with_pages(&reader, &truth).await;
                    truth
                })
            })
            .collect();
        for (node, truth) in truths.iter().enumerate().skip(1) {
            if *truth != truths[0] {
                report.broken.push(format!("node-{node} tells another history than node-0"));
            }
        }
        let history = self.load.history();
        println!("{:>4}     {}", self.number, load::summary(&history));
        report.events += truths[0].values().map(Vec::len).sum::<usize>();
        let count = |is: fn(&What) -> bool| history.entries.iter().filter(|entry| is(&entry.what)).count();
        report.acked += count(|what| matches!(what, What::Acked { .. }));
        report.delivered += count(|what| matches!(what, What::Delivered { .. }));
        report.connections += count(|what| matches!(what, What::Attached { .. }));
        let others = self.others.into_inner();
        for Return { due, live } in self.load.returns() {
            // What another fault did to it is not the drain's.
            if others.iter().any(|(began, healed)| *began <= live && due <= *healed) {
                report.returns_into_fault += 1;
            } else {
                report.returns.push(live.saturating_sub(due));
            }
        }
        let tell = |what: &str, fault: &history::Fault| {
            println!("{what} {fault:?}");
            evidence(&history, fault).iter().for_each(|line| println!("    {line}"));
        };
        let break_with = |broken: Vec<history::Fault>, report: &mut Report| {
            broken.iter().take(10).for_each(|fault| tell("BROKEN", fault));
            report.broken.extend(broken.iter().map(|fault| format!("round {}: {fault:?}", self.number)));
        };
        break_with(check(&history, &truths[0]), report);
        let excused = excused(&history, &truths[0]);
        excused.iter().take(2).for_each(|fault| tell("excused", fault));
        report.excused += excused.len();
        let deeds = self.load.deeds();
        report.accounts += deeds.iter().filter(|deed| !matches!(deed, Deed::DeletionAsked { .. })).count();
        break_with(self.runtime.block_on(accounts(self.cluster, &deeds))?, report);
        let logs = patiently(
            "the logs",
            async |client| load::read_log(client, CLUSTER, &self.load.rooms).await,
            self.cluster,
        );
        for (room, records) in self.runtime.block_on(logs)? {
            let told = truths[0].get(&room).map_or(&[][..], Vec::as_slice);
            break_with(check_log(&room, &records, told), report);
            report.records += records.len();
            let epochs: BTreeSet<u64> = records.iter().map(|opened| opened.record.epoch).collect();
            report.takeovers += epochs.len().saturating_sub(1);
        }
        Ok(())
    }
}

fn stuck(fault: Fault, when: &str, rooms: &[String]) -> String {
    format!("{fault}: {when}, {rooms:?} stood still for {BOUND:?}")
}

/// What is wrong with the accounts. A request that nobody waits for any more may still be done while they are read: what is wrong
/// once is looked at again.
async fn accounts(cluster: &Cluster, deeds: &[Deed]) -> Result<Vec<history::Fault>, String> {
    let mut faults = Vec::new();
    for _ in 0..3 {
        let read = async |client| load::read_accounts(client, CLUSTER).await;
        faults = check_accounts(deeds, &patiently("the accounts", read, cluster).await?);
        if faults.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    Ok(faults)
}

/// Reads something from JetStream itself, again while it does not answer.
async fn patiently<T>(
    what: &str,
    read: impl AsyncFn(async_nats::Client) -> Result<T, async_nats::Error>,
    cluster: &Cluster,
) -> Result<T, String> {
    let urls = cluster.nats().urls();
    let until = Instant::now() + BOUND;
    loop {
        let reading = async { read(async_nats::connect(&urls).await?).await };
        match reading.await {
            Ok(read) => return Ok(read),
            Err(error) if Instant::now() >= until => return Err(format!("{what} cannot be read: {error}")),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
