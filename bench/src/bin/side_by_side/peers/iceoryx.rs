//! iceoryx2: publish and subscribe, as its own benchmark does, with the next sample loaned after sending.

use super::bare::SLOTS;
use crate::measure::crowd::{self, Crowd};
use crate::measure::item::{Bulk, Item};
use crate::measure::pingpong;
use crate::part::Part;
use crate::row::Outcome;
use iceoryx2::node::{Node, NodeBuilder};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{BackpressureStrategy, LogLevel, ipc, set_log_level};
use iceoryx2::sample_mut_uninit::SampleMutUninit;
use std::mem::MaybeUninit;

type Service = ipc::Service;
type Words = dyn std::error::Error;

/// One side of a service, or of one in each direction.
struct Port {
    publisher: Option<Publisher<Service, [u8], ()>>,
    subscriber: Option<Subscriber<Service, [u8], ()>>,
    /// Loaned, and not sent yet.
    next: Option<SampleMutUninit<Service, [MaybeUninit<u8>], ()>>,
    bytes: usize,
    // Last: the ports go before their node.
    _node: Node<Service>,
}

impl Port {
    /// Waits until all parts have theirs. A buffer of one message overflows, a longer one does not.
    fn new(
        part: &Part,
        publish: Option<&str>,
        subscribe: Option<&str>,
        bytes: usize,
        buffer: usize,
    ) -> Result<Port, Box<Words>> {
        set_log_level(LogLevel::Error);
        let node = NodeBuilder::new().create::<Service>()?;
        let service = |what: &str| {
            node.service_builder(&part.object(what).as_str().try_into()?)
                .publish_subscribe::<[u8]>()
                .max_publishers(1)
                .max_subscribers(1)
                .history_size(0)
                .subscriber_max_buffer_size(buffer)
                .subscriber_max_borrowed_samples(2)
                .enable_safe_overflow(buffer == 1)
                .open_or_create()
                .map_err(Box::<Words>::from)
        };
        let publisher = publish.map(|what| {
            let service = service(what)?;
            let builder = service.publisher_builder().initial_max_slice_len(bytes);
            // Refused when the buffer is full, and sent again at once: the strategy that waits falls asleep for milliseconds.
            let builder =
                builder.max_loaned_samples(2).backpressure_strategy(BackpressureStrategy::DiscardData);
            builder.create().map_err(Box::<Words>::from)
        });
        let subscriber =
            subscribe.map(|what| service(what)?.subscriber_builder().create().map_err(Box::<Words>::from));
        let (publisher, subscriber) = (publisher.transpose()?, subscriber.transpose()?);
        part.meet(0);
        let mut port = Port { publisher, subscriber, next: None, bytes, _node: node };
        port.loan();
        Ok(port)
    }

    fn loan(&mut self) {
        self.next =
            self.publisher.as_ref().and_then(|publisher| publisher.loan_slice_uninit(self.bytes).ok());
    }

    /// Sends the message whose first bytes these are.
    #[inline]
    fn send(&mut self, message: &[u8]) -> bool {
        let Some(mut sample) = self.next.take() else { return false };
        let room = sample.payload_mut();
        // SAFETY: as many bytes as there is room for; the memory is the kernel's, so what is not written is initialised.
        let sample = unsafe {
            room.as_mut_ptr()
                .cast::<u8>()
                .copy_from_nonoverlapping(message.as_ptr(), message.len().min(room.len()));
            sample.assume_init()
        };
        let sent = sample.send().is_ok_and(|recipients| recipients == 1);
        self.loan();
        sent
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let sample = self.subscriber.as_ref()?.receive().ok()??;
        Some(read(sample.payload()))
    }
}

fn duplex(part: &Part, bytes: usize) -> Result<std::cell::RefCell<Port>, Box<Words>> {
    let [publish, subscribe] = if part.number == 0 { ["a", "b"] } else { ["b", "a"] };
    Ok(std::cell::RefCell::new(Port::new(part, Some(publish), Some(subscribe), bytes, 1)?))
}

/// Ping-pong of messages that are written and read whole.
pub fn latency<T: Item>(part: &Part) -> Outcome {
    let port = duplex(part, size_of::<T>())?;
    let send = |n| port.borrow_mut().send(bytemuck::bytes_of(&T::of(n)));
    let receive = || port.borrow_mut().receive(|message| bytemuck::pod_read_unaligned::<T>(message).number());
    let outcome = if part.number == 0 {
        pingpong::ask(part, 100, send, receive)
    } else {
        pingpong::answer(part, send, receive)
    };
    part.meet(4); // a service without its publisher loses what was not received
    outcome
}

/// Ping-pong of large messages that are copied in and out.
pub fn bulk_latency<const BYTES: usize>(part: &Part) -> Outcome {
    let port = duplex(part, BYTES)?;
    let (mut out, mut into) = (Bulk::new(BYTES), Bulk::new(BYTES));
    let send = |n| port.borrow_mut().send(out.say(n));
    let receive = || {
        port.borrow_mut().receive(|message| into.room().copy_from_slice(message))?;
        Some(into.number())
    };
    let outcome = if part.number == 0 {
        pingpong::ask(part, 4, send, receive)
    } else {
        pingpong::answer(part, send, receive)
    };
    part.meet(4);
    outcome
}

/// Ping-pong of large messages of which the first word is written and read.
pub fn untouched_latency<const BYTES: usize>(part: &Part) -> Outcome {
    let port = duplex(part, BYTES)?;
    let send = |n: u64| port.borrow_mut().send(&n.to_ne_bytes());
    let receive = || port.borrow_mut().receive(|message| bytemuck::pod_read_unaligned::<u64>(&message[..8]));
    let outcome = if part.number == 0 {
        pingpong::ask(part, 100, send, receive)
    } else {
        pingpong::answer(part, send, receive)
    };
    part.meet(4);
    outcome
}

/// One to one, message by message.
pub fn stream<T: Item>(part: &Part) -> Outcome {
    let (publish, subscribe) = if part.number == 0 { (Some("a"), None) } else { (None, Some("a")) };
    let port = Port::new(part, publish, subscribe, size_of::<T>(), SLOTS as usize)?;
    let port = std::cell::RefCell::new(port);
    crowd::processes(
        part,
        |crowd: Crowd<'_>| {
            let port = &mut *port.borrow_mut();
            crowd.produce::<T, 1>(0, |items| usize::from(port.send(bytemuck::bytes_of(&items[0]))));
            Ok(())
        },
        |crowd| {
            let port = &mut *port.borrow_mut();
            crowd.consume::<T, 1>(|into| {
                port.receive(|message| into[0] = bytemuck::pod_read_unaligned(message)).map_or(0, |()| 1)
            })
        },
    )
}
