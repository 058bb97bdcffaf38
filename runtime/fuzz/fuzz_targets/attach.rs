//! Packets of the attach protocol, as the monitor and as a client receives them. The first byte says how many
//! descriptors come along.
#![no_main]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libfuzzer_sys::fuzz_target;
use lrun_runtime::stdio::attach::{pair, receive_report, receive_request};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

fn send(socket: &OwnedFd, packet: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    sendmsg(socket, &[IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL).expect("send");
}

fuzz_target!(|data: &[u8]| {
    let Some((count, packet)) = data.split_first() else { return };
    if packet.len() > 100_000 {
        return;
    }
    let (client, monitor) = pair().expect("a socket pair");
    let fds = [client.as_fd(); 4];
    send(&client, packet, fds.get(..usize::from(count % 5)).unwrap_or_default());
    let _ = receive_request(&monitor);
    send(&monitor, packet, &[]);
    let _ = receive_report(&client);
});
