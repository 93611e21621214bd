//! What a pool does to its host program, and what the host may do to it.

use crate::support::pool;

crate::laws!(two_tasks_of_one_name_are_two_tasks, tasks_that_nobody_can_tell_apart_cost_only_themselves);

type Number = skep::Task<(), u8, fn() -> u8>;

fn one() -> Number {
    #[skep::task]
    fn number() -> u8 {
        1
    }
    number
}

fn two() -> Number {
    #[skep::task]
    fn number() -> u8 {
        2
    }
    number
}

fn two_tasks_of_one_name_are_two_tasks() {
    let pool = pool(1);
    assert_eq!(one().name(), two().name());
    assert_eq!((pool.apply(one(), ()), pool.apply(two(), ())), (Ok(1), Ok(2)));
}

/// Two tasks at one place, which only a macro can write.
macro_rules! twins {
    ($($function:ident)*) => { $(
        fn $function() -> Number {
            #[skep::task]
            fn twin() -> u8 {
                0
            }
            twin
        }
    )* };
}
twins!(first_twin second_twin);

fn tasks_that_nobody_can_tell_apart_cost_only_themselves() {
    let pool = pool(1);
    for twin in [first_twin(), second_twin()] {
        let error = pool.apply(twin, ()).unwrap_err().to_string();
        assert!(error.contains("two tasks") && error.contains("host.rs"), "{error}");
    }
    assert_eq!(pool.apply(one(), ()), Ok(1));
}
