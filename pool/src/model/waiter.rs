//! How a model's thread sleeps: a token under loom's own lock. What nobody wakes is a deadlock, which loom reports.

use loom::sync::{Arc, Condvar, Mutex};
use std::rc::Rc;
use std::time::Instant;

pub(crate) struct Waiter(Waker);

#[derive(Clone)]
pub(crate) struct Waker(Arc<(Mutex<bool>, Condvar)>);

loom::thread_local! {
    static THIS: Rc<Waiter> = Rc::new(Waiter(Waker(Arc::new((Mutex::new(false), Condvar::new())))));
}

impl Waiter {
    pub(crate) fn with<R>(wait: impl FnOnce(&Waiter) -> R) -> R {
        let this = THIS.with(Rc::clone);
        wait(&this)
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.0
    }

    pub(crate) fn sleep(&self, deadline: Option<Instant>) {
        assert!(deadline.is_none(), "in a model no time passes");
        let (token, woken) = &*self.0.0;
        let mut is_woken = crate::sync::lock(token);
        while !std::mem::replace(&mut *is_woken, false) {
            is_woken = woken.wait(is_woken).expect("no model panics here");
        }
    }
}

impl Waker {
    pub(crate) fn wake(&self) {
        *crate::sync::lock(&self.0.0) = true;
        self.0.1.notify_one();
    }
}

impl PartialEq for Waker {
    fn eq(&self, other: &Waker) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
