//! What tenants share: queues, permits and threads, each fair between namespaces. Work of one namespace, however much, keeps that of
//! another waiting for no longer than one job takes.

mod permits;
mod pool;
mod queue;

pub use self::{
    permits::{Permit, Permits},
    pool::Pool,
    queue::FairQueue,
};

/// Of what is left, how many times as much one namespace may hold: alone it has three quarters of everything, a second one three
/// quarters of the rest. So there is always some left for one that comes later.
const SHARE: usize = 3;

/// Whether a namespace that holds so much may take one more where so much is free.
pub fn may_take(held: usize, free: usize) -> bool {
    free > 0 && held < free.saturating_mul(SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_namespace_never_takes_everything_where_there_is_more_than_a_little() {
        for (all, one, another) in [
            (256, 192, 48),
            (96, 72, 18),
            (32, 24, 6),
            (4, 3, 1),
            (2, 2, 0),
            (1, 1, 0),
        ] {
            let fill = |free: usize| (0..free).take_while(|held| may_take(*held, free - held)).count();
            assert_eq!((fill(all), fill(all - fill(all))), (one, another), "of {all}");
        }
    }
}
