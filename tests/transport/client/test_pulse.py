from runtara.transport.client.pulse import ASK_AFTER, DEAD_AFTER, KEEP_ALIVE, LATE_AFTER, Pulse


def test_an_idle_server_is_asked_now_and_then_and_stays_alive_if_it_responds() -> None:
    pulse = Pulse(0.0)

    assert not pulse.should_ask(KEEP_ALIVE - 0.1)
    assert pulse.alarm == KEEP_ALIVE
    assert pulse.should_ask(KEEP_ALIVE)
    pulse.asked(KEEP_ALIVE)
    pulse.heard(KEEP_ALIVE + 0.1, owed=False)

    assert not pulse.is_dead(KEEP_ALIVE + 100)
    assert pulse.alarm == 2 * KEEP_ALIVE + 0.1


def test_an_idle_server_that_does_not_respond_is_dead() -> None:
    pulse = Pulse(0.0)
    pulse.asked(KEEP_ALIVE)

    assert not pulse.should_ask(KEEP_ALIVE + 1)
    assert not pulse.is_dead(KEEP_ALIVE + DEAD_AFTER - 0.1)
    assert pulse.alarm == KEEP_ALIVE + DEAD_AFTER
    assert pulse.is_dead(KEEP_ALIVE + DEAD_AFTER)


def test_a_server_that_owes_an_answer_is_asked_soon_and_then_dead() -> None:
    pulse = Pulse(0.0)
    pulse.awaits(100.0)
    pulse.awaits(102.0)  # what is sent later prolongs nothing

    assert pulse.alarm == 100 + ASK_AFTER
    assert pulse.should_ask(100 + ASK_AFTER)
    pulse.asked(100 + ASK_AFTER)

    assert pulse.is_dead(100 + DEAD_AFTER)


def test_a_sign_of_life_is_enough_while_the_answer_takes_its_time() -> None:
    pulse = Pulse(0.0)
    pulse.awaits(0.0)
    pulse.asked(1.0)

    pulse.heard(1.5, owed=True)

    assert not pulse.is_dead(1.5 + DEAD_AFTER - 0.1)
    assert pulse.should_ask(1.5 + ASK_AFTER)
    assert pulse.is_dead(1.5 + DEAD_AFTER)


def test_who_has_stood_still_gives_the_server_its_time_anew_and_only_once() -> None:
    pulse = Pulse(0.0)
    pulse.awaits(0.0)
    pulse.asked(ASK_AFTER)

    pulse.looked(DEAD_AFTER + LATE_AFTER - 0.1)
    assert pulse.is_dead(DEAD_AFTER)
    pulse.looked(20.0)  # which was planned for DEAD_AFTER
    assert not pulse.is_dead(20.0)
    assert pulse.alarm == 20 + ASK_AFTER
    pulse.asked(20 + ASK_AFTER)
    assert not pulse.is_dead(20 + DEAD_AFTER - 0.1)
    pulse.looked(40.0)
    assert pulse.is_dead(40.0)


def test_after_a_sign_of_life_one_may_stand_still_again() -> None:
    pulse = Pulse(0.0)
    pulse.awaits(0.0)
    pulse.looked(20.0)
    pulse.heard(21.0, owed=True)

    pulse.looked(40.0)

    assert not pulse.is_dead(40.0)
