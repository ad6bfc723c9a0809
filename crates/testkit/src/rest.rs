//! Rests of engines that nobody but the engine may notice.

use tidegate_http2::Connection;

/// Puts an engine to rest and wakes it at once, if it can rest.
///
/// # Panics
/// Panics if it isn't the same afterwards.
pub fn rest_and_wake(engine: &mut Connection) {
    let (stats, timeout) = (*engine.stats(), engine.next_timeout());
    let (held, takes) = (engine.held_bytes(), engine.can_receive());
    let (settings, credit) = (*engine.peer_settings(), engine.receive_credit());
    let send_credit = engine.send_credit();
    let Some(mut resting) = engine.put_to_rest() else {
        return;
    };
    assert_eq!((resting.stats(), resting.next_timeout()), (stats, timeout));
    assert_eq!((resting.held_bytes(), resting.can_receive()), (held, takes));
    *engine = *resting.wake();
    assert_eq!((*engine.stats(), engine.next_timeout()), (stats, timeout));
    assert_eq!((engine.held_bytes(), engine.can_receive()), (held, takes));
    assert_eq!(*engine.peer_settings(), settings);
    assert_eq!(engine.receive_credit(), credit);
    assert_eq!(engine.send_credit(), send_credit);
    assert!(engine.is_established() && !engine.is_ending());
    assert_eq!(engine.audit(), Ok(()));
}
