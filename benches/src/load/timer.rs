//! Waking at a time, to some microseconds. The timers of the runtime are for milliseconds: at thousands of checks a second,
//! several would go out at once.

use std::io;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

/// A timer of the kernel that the runtime waits for as it does for sockets. It is read like a pipe, and so is handed over as one.
#[derive(Debug)]
pub(crate) struct Timer(Receiver);

impl Timer {
    pub(crate) fn new() -> io::Result<Self> {
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self(Receiver::from_owned_fd_unchecked(descriptor)?))
    }

    /// Waits until this time; not at all if it is past.
    pub(crate) async fn until(&mut self, time: Instant) -> io::Result<()> {
        let left = time.saturating_duration_since(Instant::now());
        // A timer of nothing would never wake.
        if left.is_zero() {
            return Ok(());
        }
        let once = Itimerspec { it_interval: timespec(Duration::ZERO)?, it_value: timespec(left)? };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        loop {
            self.0.readable().await?;
            // How often it went off, which is once; reading it makes it silent again.
            match self.0.try_read(&mut [0; 8]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(drop),
            }
        }
    }
}

fn timespec(time: Duration) -> io::Result<Timespec> {
    Timespec::try_from(time).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_wakes_at_the_time_and_not_before() {
        let mut timer = Timer::new().unwrap();
        let start = Instant::now();
        for microseconds in [0, 50, 300, 1_500, 20_000, 20_100] {
            let time = start + Duration::from_micros(microseconds);
            timer.until(time).await.unwrap();
            assert!(Instant::now() >= time);
        }
        timer.until(start).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
