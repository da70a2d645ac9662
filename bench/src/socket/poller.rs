//! `epoll` with deadlines to the microsecond.
//!
//! `epoll_wait` counts its timeout in milliseconds, too coarse for a schedule of 20,000 messages per second; a
//! `timerfd` in the set wakes us in time without spinning.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

/// Events taken per call: few, so that what is due meanwhile does not wait for a long round of reads.
const BATCH: usize = 64;
const TIMER: u64 = u64::MAX;

/// A set of sockets.
pub struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// What the timer is set to, to save the call when nothing changed.
    armed: Option<u64>,
    events: Vec<Event>,
}

/// A socket that has something.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// As given to [`Poller::add`].
    pub token: u64,
    /// There is something to read, or an end.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// The other side is gone, or will send no more: read until the end.
    pub ending: bool,
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, timer, armed: None, events: Vec::with_capacity(BATCH) })
    }

    /// Reports `socket` under `token` whenever it becomes readable or writable: each change once, so read until
    /// there is no more. Closing the socket removes it.
    ///
    /// # Errors
    /// The system's.
    pub fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), flags)?)
    }

    /// The same for one that is only read, such as a listener, reported as long as there is something.
    ///
    /// # Errors
    /// The system's.
    pub fn add_source(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// Waits for sockets until `deadline` (monotonic nanoseconds; in the past: does not wait) and adds them to `ready`.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&mut self, deadline: u64, ready: &mut Vec<Ready>) -> io::Result<()> {
        let now = crate::clock::now();
        let timeout = if deadline <= now {
            Some(Timespec { tv_sec: 0, tv_nsec: 0 })
        } else {
            self.arm(deadline)?;
            None
        };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let (token, flags) = (event.data.u64(), event.flags);
            if token == TIMER {
                self.armed = None;
                continue;
            }
            let ending = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            ready.push(Ready {
                token,
                readable: ending || flags.contains(EventFlags::IN),
                writable: flags.contains(EventFlags::OUT),
                ending,
            });
        }
        Ok(())
    }

    fn arm(&mut self, deadline: u64) -> io::Result<()> {
        if self.armed == Some(deadline) {
            return Ok(());
        }
        let at = |nanos: u64| Timespec {
            tv_sec: (nanos / 1_000_000_000).try_into().unwrap_or(i64::MAX),
            tv_nsec: (nanos % 1_000_000_000).try_into().unwrap_or(0),
        };
        let spec = Itimerspec { it_interval: at(0), it_value: at(deadline) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec)?;
        self.armed = Some(deadline);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixStream};

    use super::*;

    #[test]
    fn a_deadline_ends_the_wait() {
        let mut poller = Poller::new().unwrap();
        let mut ready = Vec::new();
        for wait in [0, 300_000, 5_000_000] {
            let deadline = crate::clock::now() + wait;
            while crate::clock::now() < deadline {
                poller.wait(deadline, &mut ready).unwrap();
            }
            assert!(ready.is_empty());
        }
    }

    #[test]
    fn a_readable_socket_ends_the_wait() {
        let mut poller = Poller::new().unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        poller.add(&far, 7).unwrap();
        near.write_all(b"x").unwrap();
        let mut ready = Vec::new();
        poller.wait(crate::clock::now() + 60_000_000_000, &mut ready).unwrap();
        assert_eq!((ready[0].token, ready[0].readable, ready[0].ending), (7, true, false));
        ready.clear();
        drop(near);
        poller.wait(crate::clock::now() + 60_000_000_000, &mut ready).unwrap();
        assert!(ready[0].ending);
    }
}
