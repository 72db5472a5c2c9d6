//! Ports for programs that cannot be asked which one they took.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU16, Ordering},
};

const LOWEST: u16 = 10_240;

/// A port of the loopback interface that is free now. It is below the range from which the system takes ports for
/// outgoing connections, so that none of those can take it before the program does. Another process still can: callers
/// try again with another port when their program finds it taken.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = first_ephemeral().clamp(LOWEST + 1_000, 32_768) - LOWEST;
    // Test processes that run side by side begin at different places.
    let start = u16::try_from(u64::from(process::id()) * 97 % u64::from(count)).unwrap();
    (0..count)
        .map(|_| LOWEST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % count) % count)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port")
}

fn first_ephemeral() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768)
}
