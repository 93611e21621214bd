//! What runs under a name, and what was left there.

use skep::{LockError, Mutex};

use crate::{
    Outcome,
    site::{Checkpoint, Chunk, Partial, Site, remove_all},
};

pub fn status(name: &str, clean: bool) -> Outcome {
    let found = Site::look(name)?;
    if clean {
        if let Some((board, _)) = &found
            && [&board.reader, &board.aggregator].into_iter().any(is_at_work)
        {
            Err(format!("{name}: a reader or an aggregator is at work; end it first"))?;
        }
        let removed = remove_all(name)?;
        println!("{name}: {removed} files removed from shared memory");
        return Ok(());
    }
    let Some((board, arena)) = found else {
        println!("{name}: nothing there");
        return Ok(());
    };
    println!("{name}: {}", if board.over.is_set() { "over, but for its removal" } else { "not over" });
    println!(
        "reader      {}",
        role(&board.reader, |[log, next]| (log != 0).then(|| format!("block {next} is next")))?
    );
    println!(
        "aggregator  {}",
        role(&board.aggregator, |[counts, _]| (counts != 0).then(|| format!("checkpoint {counts}")))?
    );
    let Some(arena) = arena else { return Ok(()) };
    queue::<Chunk>(&arena, "chunks");
    queue::<Partial>(&arena, "partials");
    queue::<Checkpoint>(&arena, "checkpoints");
    println!("memory      {} of {} bytes free, {} at most", arena.free_bytes(), arena.size(), arena.limit());
    Ok(())
}

fn is_at_work(role: &Mutex<[u64; 2]>) -> bool {
    matches!(role.try_lock(), Err(LockError::WouldBlock))
}

/// What is known of a role: nothing of how far its holder is, who has it to himself.
fn role(role: &Mutex<[u64; 2]>, far: impl Fn([u64; 2]) -> Option<String>) -> Outcome<String> {
    let (how, words) = match role.try_lock() {
        Ok(guard) => ("nobody", *guard),
        Err(LockError::OwnerDied(guard)) => ("killed", *guard),
        Err(LockError::WouldBlock) => return Ok("at work".to_owned()),
        Err(error) => return Err(error.map(|_| ()).to_string().into()),
    };
    Ok(far(words).map_or_else(|| how.to_owned(), |far| format!("{how}: {far}")))
}

fn queue<T: serde::Serialize + serde::de::DeserializeOwned>(arena: &skep::Arena, name: &str) {
    // A stage that needs it makes it.
    let Ok(queue) = skep::Queue::<T>::open_in(arena, name) else { return };
    let closed = if queue.is_closed() { ", closed" } else { "" };
    println!("{name:11} {} of {}{closed}", queue.len(), queue.capacity());
}
