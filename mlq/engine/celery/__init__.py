"""Where the engine replaces or calls parts of Celery and kombu.

Every place in mlq that replaces a name of Celery or kombu, or calls a private one, stands here: the file, the names,
and why a public name does not do. tests/unit/engine/test_celery_seams.py names each that an upgrade moved.

In this package (mlq/engine/celery/):

- backend.py: overrides `_get_client`, `_store_result`, `_call_task_errbacks`, `on_chord_part_return`, `add_to_chord`,
  `get` and `mget` of the Redis backend, calls `_get_result_meta`, `_transport_options` and `connparams`, replaces
  `store_result` of other backends and entries of `BACKEND_ALIASES`. A result is recorded together with the end of its
  claim. Of any backend it calls `_store_result` and `_forget`, because `store_result` would retry without end.
- chords.py: calls `_chord_zset`, `_unpack_chord_result`, `_chord_result_expires` (Celery 5.7) and `_task_stack`, where
  Celery counts and joins the parts of a chord. Its format of a part has no public name.
- connection_losses.py: overrides `on_connection_error_after_connected` of the Consumer, filters `CONNECTION_RETRY`
  from the log. Celery reconnects at once and logs a traceback each time.
- controls.py: replaces `Pidbox` and handlers in `Panel.data`, and `handle` and `on_decode_error` of its Node. Celery
  obeys every client that can publish.
- delivery.py: calls `_deliver` of the transport, replaces `on_decode_error` and `reply`, reads `task_buckets`,
  `disable_rate_limits` and `event_dispatcher`. The engine claims messages, then Celery runs them.
- log_texts.py: replaces the texts `LOG_SUCCESS`, `UNKNOWN_TASK_ERROR`, `MESSAGE_REPORT` and `UNKNOWN_FORMAT`, which
  write arguments and results into the log.
- pool.py: replaces `on_apply` of the solo pool and adds terminate_job, so that a running task can be given back; sets
  `should_stop`, because `should_terminate` would exit with 0; reads `_shutdown_cleanup` of billiard, to recognize the
  SystemExit that ends a process of the prefork pool.
- publish_guard.py: replaces `_create_task_sender` of AMQP and `_publish_reply` of kombu's Mailbox. All tasks and
  replies pass through these two, so their destination is checked there.
- reconnection.py: replaces `Connection` of AMQP, whose pauses between attempts are not settings.
- refusal.py: replaces `_brpop_read` and `loads` of kombu's Redis transport, `on_decode_error` and `on_invalid_task` of
  the Consumer, and `__init__` of Request. An unreadable message would end the worker.
- message_checks.py: replaces `create_task_handler` of a Consumer, to check a message before Celery does.
- server_clock.py: replaces `now` of the app and `maybe_expire` of Request, to compute dates with the server's clock.
- stock_transport.py: replaces `call_soon`, `call_soon_ack` and `create_task_handler` of a Consumer. Celery delays an
  acknowledgement to the next turn of its loop, and runs messages that arrive while the worker ends.
- task_wrapper.py: replaces `run`, `retry`, `on_replace` and `add_to_chord` of each task, to time its body and to
  publish what follows from it together with its end.
- transport.py: replaces entries of `TRANSPORT_ALIASES`, clears `_transport_cache`, overrides `_put`, `_deliver`,
  `cycle`, `register_with_event_loop`, `_register_BRPOP` and the methods of QoS, calls `_get_message_priority` and
  `_q_for_pri`. Messages are claimed in Redis, not kept in kombu's unacked hash.

Elsewhere, because clients and supervisors need them, too:

- mlq/broker/channels.py: overrides `_put`, `_queue_bind`, `_do_restore_message`, `_handle_message`, `_brpop_read`,
  `_size`, `_has_queue`, `_delete` and `maybe_refresh_binding_expiry` of the Redis channel, calls `_lookup` and
  `_q_for_pri`, sets `_binding_expiry_refreshed_at`, and overrides `_init_params`, `_establish_connection` and
  `get_transport_cls` of Connection. kombu declares queues inside MULTI, which Redis refuses while its memory is full.
- mlq/store/queues/depth.py: calls `_q_for_pri`, kombu's key of one priority step.
- mlq/supervisor/control/mailbox.py: calls `_publish_reply`, to answer for its workers as kombu's Node does.
- mlq/protocol/control_messages.py: replaces `Message` of a channel, to read control messages before kombu decodes
  them.
- mlq/protocol/compression.py: registers bounded decompressors (`encoders`, `get_encoder`, `register`).
"""
