"""ministack, which stands in for AWS in the tests: `python core/tests/aws/peer.py`, with the Python that `.ci/aws-peer` prints.
Its address is 127.0.0.1:$GATEWAY_PORT, and its folder $HOME, which goes with it.

Ends with its standard input, so that it never outlives the tests, however these end; with it end the processes that it
started. Three things are mended. A send and the receives of event source mappings change a queue's list in several threads
without a common lock, so that a message can be lost. There are no message move tasks; these move all at once, whatever rate
is asked for. And what a PartiQL statement changes does not appear in the stream.
"""
import os, shutil, signal, sys, threading, time, uuid
os.setpgid(0, 0)
def ends():
    sys.stdin.buffer.read()
    shutil.rmtree(os.environ['HOME'], ignore_errors=True)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=ends, daemon=True).start()
from ministack.services import sqs
one_at_a_time = sqs._queues_lock = threading.RLock()
def guarded(change):
    def alone(*given, **named):
        with one_at_a_time:
            return change(*given, **named)
    return alone
for name in ('_dlq_sweep', '_collect_msgs', '_expire_retained', '_refresh_counts'):
    setattr(sqs, name, guarded(getattr(sqs, name)))
for name in ('SendMessage', 'SendMessageBatch', 'DeleteMessage', 'DeleteMessageBatch'):
    sqs._HANDLERS[name] = guarded(sqs._HANDLERS[name])
tasks = []
def start_move(asked, _):
    source, target = (sqs._queue_by_arn(asked.get(name, '')) for name in ('SourceArn', 'DestinationArn'))
    if source is None or target is None:
        raise sqs._Err('ResourceNotFoundException', 'no such queue')
    now = time.time()
    moved = [message for message in source['messages'] if message['visible_at'] <= now]
    for message in moved:
        source['messages'].remove(message)
        fresh = {'id': str(uuid.uuid4()), 'receipt_handle': None, 'receive_count': 0, 'first_receive_at': None}
        target['messages'].append({**message, **fresh, 'sent_at': now, 'visible_at': now})
    sqs.esm_wake.set()
    tasks.insert(0, {'TaskHandle': str(uuid.uuid4()), 'Status': 'COMPLETED', 'SourceArn': asked['SourceArn'],
        'DestinationArn': asked['DestinationArn'], 'ApproximateNumberOfMessagesMoved': len(moved),
        'ApproximateNumberOfMessagesToMove': len(moved), 'StartedTimestamp': int(now * 1000)})
    return {'TaskHandle': tasks[0]['TaskHandle']}
def list_moves(asked, _):
    found = [task for task in tasks if task['SourceArn'] == asked.get('SourceArn')]
    shown = [{name: value for name, value in task.items() if name != 'TaskHandle'} for task in found]
    return {'Results': shown[:asked.get('MaxResults', 1)]}
sqs._HANDLERS['StartMessageMoveTask'] = guarded(start_move)
sqs._HANDLERS['ListMessageMoveTasks'] = list_moves
from ministack.services import dynamodb
def streamed(execute):
    def executed(table, parsed, *more):
        set_item, changes = dynamodb._set_item, []
        def noted(table, partition, sort, item):
            changes.append((table['items'].get(partition, {}).get(sort), item))
            set_item(table, partition, sort, item)
        dynamodb._set_item = noted
        try:
            answer = execute(table, parsed, *more)
        finally:
            dynamodb._set_item = set_item
        for old, new in changes:
            dynamodb._emit_stream_event(parsed['table'], 'MODIFY' if old else 'INSERT', old, new)
        return answer
    return executed
for name in ('_partiql_insert', '_partiql_update'):
    setattr(dynamodb, name, streamed(getattr(dynamodb, name)))
from ministack.app import main
main()
