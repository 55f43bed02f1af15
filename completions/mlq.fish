# Fish completion for mlq. Made by completions/generate.py from the command line itself; do not edit.
# The words are in this file; only names (queues, workers, jobs) are asked of mlq, when one is wanted.

# Say in which command the cursor stands: `worker start`, `queues ls` for a bare `queues`, nothing before any word.
function __mlq_place
    set -l words (commandline -opc)
    set -e words[1]
    while string match -q -- '-*' "$words[1]"
        contains -- $words[1] --broker --config; and set -e words[1]
        set -e words[1]
    end
    switch "$words[1]"
        case worker
            contains -- "$words[2]" start ls drain stop restart logs; or set words worker ls
            echo "$words[1..2]"
        case job
            contains -- "$words[2]" ls show cancel; or set words job ls
            echo "$words[1..2]"
        case dead
            contains -- "$words[2]" ls show retry drop export rerun; or set words dead ls
            echo "$words[1..2]"
        case queues
            contains -- "$words[2]" ls pause resume purge; or set words queues ls
            echo "$words[1..2]"
        case autoscale
            contains -- "$words[2]" run simulate; or set words autoscale run
            echo "$words[1..2]"
        case '*'
            echo "$words[1]"
    end
end

function __mlq_in
    test (__mlq_place) = "$argv"
end

# Whether nothing stands between a word and the cursor.
function __mlq_after
    test (commandline -opc)[-1] = "$argv"
end

complete -c mlq -f

# mlq
complete -c mlq -n '__mlq_in' -a up -d 'Run an embedded broker and a worker for each device here'
complete -c mlq -n '__mlq_in' -a worker -d 'Start inference workers, one per device; list the live ones'
complete -c mlq -n '__mlq_in' -a submit -d 'Send the rows of a file; with --wait, collect the answers'
complete -c mlq -n '__mlq_in' -a result -d 'Collect the answers of a job or a task'
complete -c mlq -n '__mlq_in' -a job -d 'Show submitted files and their progress; cancel one'
complete -c mlq -n '__mlq_in' -a dead -d 'List, show, retry or drop messages that nobody will run'
complete -c mlq -n '__mlq_in' -a queues -d 'Show what waits, what runs, how old it is'
complete -c mlq -n '__mlq_in' -a events -d 'Show who ordered what, and what became of it'
complete -c mlq -n '__mlq_in' -a autoscale -d 'Start and stop workers so that work waits no longer than the target'
complete -c mlq -n '__mlq_in' -a config -d 'Show every setting, its value and where it came from'
complete -c mlq -n '__mlq_in' -a acl -d 'Print the rights of a client, a submitter or a worker on Redis'
complete -c mlq -n '__mlq_in' -l version -d 'Show the version'
complete -c mlq -n '__mlq_in' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in' -s h -l help -d 'Show this message and exit'

# mlq up
complete -c mlq -n '__mlq_in up' -l wait-broker -x -d 'Try so long to reach a broker that is away'
complete -c mlq -n '__mlq_in up' -l rollout -d 'Serve even if others serve these queues with another model'
complete -c mlq -n '__mlq_in up' -l take-unknown -d 'Start even if most waiting messages are of tasks that no worker knows'
complete -c mlq -n '__mlq_in up' -l max-wait -x -d 'Let rows wait so long for others to fill a batch: 0'
complete -c mlq -n '__mlq_in up' -l model -r -F -d 'Model to serve: model.pt2, model.pt, serve.py:Class'
complete -c mlq -n '__mlq_in up' -l output -x -a 'raw classify' -d 'raw: the model\'s numbers; classify: class and confidence'
complete -c mlq -n '__mlq_in up' -l max-batch-size -x -d 'Rows in one forward, if the model names no limit'
complete -c mlq -n '__mlq_in up' -l time-limit -x -d 'End a task, or a forward, and its process after so long'
complete -c mlq -n '__mlq_in up' -l queues -x -a '(__fish_complete_list , "mlq values queues 2>/dev/null")' -d 'Queues to serve, most urgent first'
complete -c mlq -n '__mlq_in up' -l share -x -d 'Device time that a queue gets at least'
complete -c mlq -n '__mlq_in up' -l soft-time-limit -x -d 'Raise SoftTimeLimitExceeded in it after so long'
complete -c mlq -n '__mlq_in up' -l max-tasks -x -d 'Replace a worker after so many tasks'
complete -c mlq -n '__mlq_in up' -l max-memory -x -d 'Replace a worker above so much resident memory'
complete -c mlq -n '__mlq_in up' -l drain-timeout -x -d 'Give back what still runs so long after a drain began'
complete -c mlq -n '__mlq_in up' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in up' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in up' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in up' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in up' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in up' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in up' -s h -l help -d 'Show this message and exit'

# mlq worker
complete -c mlq -n '__mlq_after worker' -a start -d 'Start one solo Celery process per device, model loaded once, and keep it up until Ctrl-C'
complete -c mlq -n '__mlq_after worker' -a ls -d 'Show the live workers of every host, busy ones too'
complete -c mlq -n '__mlq_after worker' -a drain -d 'Let workers finish what they run, take no more, and end; on any host'
complete -c mlq -n '__mlq_after worker' -a stop -d 'Drain workers, but give back to the queue what still runs after --drain-timeout (30 s); on any host'
complete -c mlq -n '__mlq_after worker' -a restart -d 'Drain workers and start them anew, with the model file as it is now; on any host'
complete -c mlq -n '__mlq_after worker' -a logs -d 'Show what workers wrote, of this host from their log files, of others their last 20 lines'

# mlq worker start
complete -c mlq -n '__mlq_in worker start' -l gpus -x -d 'GPUs: all, auto (the free ones), or indices or UUIDs, MIG\'s too'
complete -c mlq -n '__mlq_in worker start' -l per-gpu -x -d 'Workers on each GPU; one, if not said'
complete -c mlq -n '__mlq_in worker start' -l cpus -x -d 'Start this many CPU workers instead'
complete -c mlq -n '__mlq_in worker start' -l pool -x -d 'solo: one task at a time; prefork: Celery\'s pool, on the CPU'
complete -c mlq -n '__mlq_in worker start' -l concurrency -x -d 'Processes of a prefork pool; it scales within a range'
complete -c mlq -n '__mlq_in worker start' -l name -x -d 'Prefix of the workers\' names, where one host runs several sets'
complete -c mlq -n '__mlq_in worker start' -l wait-broker -x -d 'Try so long to reach a broker that is away'
complete -c mlq -n '__mlq_in worker start' -l rollout -d 'Serve even if others serve these queues with another model'
complete -c mlq -n '__mlq_in worker start' -l take-unknown -d 'Start even if most waiting messages are of tasks that no worker knows'
complete -c mlq -n '__mlq_in worker start' -l detach -d 'Return once the workers are ready'
complete -c mlq -n '__mlq_in worker start' -l max-wait -x -d 'Let rows wait so long for others to fill a batch: 0'
complete -c mlq -n '__mlq_in worker start' -l model -r -F -d 'Model to serve: model.pt2, model.pt, serve.py:Class'
complete -c mlq -n '__mlq_in worker start' -l output -x -a 'raw classify' -d 'raw: the model\'s numbers; classify: class and confidence'
complete -c mlq -n '__mlq_in worker start' -l max-batch-size -x -d 'Rows in one forward, if the model names no limit'
complete -c mlq -n '__mlq_in worker start' -l time-limit -x -d 'End a task, or a forward, and its process after so long'
complete -c mlq -n '__mlq_in worker start' -l queues -x -a '(__fish_complete_list , "mlq values queues 2>/dev/null")' -d 'Queues to serve, most urgent first'
complete -c mlq -n '__mlq_in worker start' -l share -x -d 'Device time that a queue gets at least'
complete -c mlq -n '__mlq_in worker start' -l soft-time-limit -x -d 'Raise SoftTimeLimitExceeded in it after so long'
complete -c mlq -n '__mlq_in worker start' -l max-tasks -x -d 'Replace a worker after so many tasks'
complete -c mlq -n '__mlq_in worker start' -l max-memory -x -d 'Replace a worker above so much resident memory'
complete -c mlq -n '__mlq_in worker start' -l drain-timeout -x -d 'Give back what still runs so long after a drain began'
complete -c mlq -n '__mlq_in worker start' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in worker start' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in worker start' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in worker start' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in worker start' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in worker start' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in worker start' -s h -l help -d 'Show this message and exit'

# mlq worker ls
complete -c mlq -n '__mlq_in worker ls' -l watch -x -d 'Show again every so many seconds, until Ctrl-C'
complete -c mlq -n '__mlq_in worker ls' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in worker ls' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in worker ls' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in worker ls' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in worker ls' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in worker ls' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in worker ls' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in worker ls' -s h -l help -d 'Show this message and exit'

# mlq worker drain
complete -c mlq -n '__mlq_in worker drain' -l all -d 'All workers of all hosts'
complete -c mlq -n '__mlq_in worker drain' -l host -x -d 'Workers of this host: all, or those named'
complete -c mlq -n '__mlq_in worker drain' -l timeout -x -d 'Wait no longer than this; the order stands (exit 7)'
complete -c mlq -n '__mlq_in worker drain' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in worker drain' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in worker drain' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in worker drain' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in worker drain' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in worker drain' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in worker drain' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in worker drain' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in worker drain' -a '(mlq values workers 2>/dev/null)'

# mlq worker stop
complete -c mlq -n '__mlq_in worker stop' -l all -d 'All workers of all hosts'
complete -c mlq -n '__mlq_in worker stop' -l host -x -d 'Workers of this host: all, or those named'
complete -c mlq -n '__mlq_in worker stop' -l drain-timeout -x -d 'Give back what still runs after so long'
complete -c mlq -n '__mlq_in worker stop' -l timeout -x -d 'Wait no longer than this; the order stands (exit 7)'
complete -c mlq -n '__mlq_in worker stop' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in worker stop' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in worker stop' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in worker stop' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in worker stop' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in worker stop' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in worker stop' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in worker stop' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in worker stop' -a '(mlq values workers 2>/dev/null)'

# mlq worker restart
complete -c mlq -n '__mlq_in worker restart' -l all -d 'All workers of all hosts'
complete -c mlq -n '__mlq_in worker restart' -l host -x -d 'Workers of this host: all, or those named'
complete -c mlq -n '__mlq_in worker restart' -l rolling -d 'One after the other, each ready before the next'
complete -c mlq -n '__mlq_in worker restart' -l drain-timeout -x -d 'Give back what still runs after so long'
complete -c mlq -n '__mlq_in worker restart' -l timeout -x -d 'Wait no longer than this; the order stands (exit 7)'
complete -c mlq -n '__mlq_in worker restart' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in worker restart' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in worker restart' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in worker restart' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in worker restart' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in worker restart' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in worker restart' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in worker restart' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in worker restart' -a '(mlq values workers 2>/dev/null)'

# mlq worker logs
complete -c mlq -n '__mlq_in worker logs' -s f -l follow -d 'Go on with what comes, until Ctrl-C'
complete -c mlq -n '__mlq_in worker logs' -s n -l lines -x -d 'How many of the last lines'
complete -c mlq -n '__mlq_in worker logs' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in worker logs' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in worker logs' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in worker logs' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in worker logs' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in worker logs' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in worker logs' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in worker logs' -a '(mlq values workers 2>/dev/null)'

# mlq submit
complete -c mlq -n '__mlq_in submit' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Queue to send to'
complete -c mlq -n '__mlq_in submit' -l priority -x -d '0 to 9 within the queue, 9 the most urgent'
complete -c mlq -n '__mlq_in submit' -l wait -d 'Wait for the answers'
complete -c mlq -n '__mlq_in submit' -s o -l output-file -r -F -d 'Write the answers as JSON Lines to FILE (default -, stdout)'
complete -c mlq -n '__mlq_in submit' -l resume -d 'Go on with the output that -o names, or begin it; retries failed rows'
complete -c mlq -n '__mlq_in submit' -l order -x -a 'input completion' -d 'Order of the output\'s lines: input or completion'
complete -c mlq -n '__mlq_in submit' -l errors -r -F -d 'Write the inputs of failed rows here, as they were'
complete -c mlq -n '__mlq_in submit' -l max-errors -x -d 'Stop when more rows than this have failed'
complete -c mlq -n '__mlq_in submit' -l max-inflight -x -d 'Messages on their way at once, with --wait'
complete -c mlq -n '__mlq_in submit' -l timeout -x -d 'Give up waiting after so many seconds (exit 7)'
complete -c mlq -n '__mlq_in submit' -l id-field -x -d 'Field that is the row\'s id; every row needs it'
complete -c mlq -n '__mlq_in submit' -l job-id -x -d 'The job\'s id; what it has sent is not sent twice'
complete -c mlq -n '__mlq_in submit' -l format -x -a 'jsonl json csv tsv parquet files' -d 'What FILE is, where neither its name nor its content tells: jsonl, json, csv, tsv, parquet or files'
complete -c mlq -n '__mlq_in submit' -l encoding -x -a 'utf-8 utf-16 utf-16-le utf-16-be utf-32 latin-1 windows-1252 iso-8859-15 windows-1250 windows-1251 koi8-r shift_jis euc-jp gb18030 big5 euc-kr macroman' -d 'Encoding of FILE, such as latin-1 or utf-16-le (default: its byte-order mark, else utf-8)'
complete -c mlq -n '__mlq_in submit' -l delimiter -x -a 'comma semicolon tab pipe space' -d 'What separates the fields of a CSV file: a character, comma, semicolon, tab or pipe (default: its header tells)'
complete -c mlq -n '__mlq_in submit' -l inline -d 'Of a directory, send what is in the files, not their paths'
complete -c mlq -n '__mlq_in submit' -l tasks -d 'Rows are tasks: {"task", "args", "kwargs", "queue", "priority"}'
complete -c mlq -n '__mlq_in submit' -l chunk -x -d 'Rows in one message; else what takes about 250 ms'
complete -c mlq -n '__mlq_in submit' -l create-queue -d 'Send even to queues that neither the configuration nor a worker knows'
complete -c mlq -n '__mlq_in submit' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in submit' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in submit' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in submit' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in submit' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in submit' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in submit' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in submit' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in submit' -F

# mlq result
complete -c mlq -n '__mlq_in result' -l wait -d 'Wait for the answers'
complete -c mlq -n '__mlq_in result' -s o -l output-file -r -F -d 'Write the answers as JSON Lines to FILE (default -, stdout)'
complete -c mlq -n '__mlq_in result' -l timeout -x -d 'Give up waiting after so many seconds (exit 7)'
complete -c mlq -n '__mlq_in result' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in result' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in result' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in result' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in result' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in result' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in result' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in result' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in result' -a '(mlq values jobs 2>/dev/null)'

# mlq job
complete -c mlq -n '__mlq_after job' -a ls -d 'List the jobs of the last 30 days, the latest first'
complete -c mlq -n '__mlq_after job' -a show -d 'Show how far a job is'
complete -c mlq -n '__mlq_after job' -a cancel -d 'Run nothing more of a job: workers drop its rows, its submitter stops'

# mlq job ls
complete -c mlq -n '__mlq_in job ls' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in job ls' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in job ls' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in job ls' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in job ls' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in job ls' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in job ls' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in job ls' -s h -l help -d 'Show this message and exit'

# mlq job show
complete -c mlq -n '__mlq_in job show' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in job show' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in job show' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in job show' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in job show' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in job show' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in job show' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in job show' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in job show' -a '(mlq values jobs 2>/dev/null)'

# mlq job cancel
complete -c mlq -n '__mlq_in job cancel' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in job cancel' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in job cancel' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in job cancel' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in job cancel' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in job cancel' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in job cancel' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in job cancel' -a '(mlq values jobs 2>/dev/null)'

# mlq dead
complete -c mlq -n '__mlq_after dead' -a ls -d 'List dead letters, the oldest first'
complete -c mlq -n '__mlq_after dead' -a show -d 'Show what is known of a dead letter, and its payload, escaped and cut; with --raw exactly its bytes'
complete -c mlq -n '__mlq_after dead' -a retry -d 'Put dead letters back on their queues, behind what waits, and forget what they are blamed for'
complete -c mlq -n '__mlq_after dead' -a drop -d 'Forget dead letters for ever'
complete -c mlq -n '__mlq_after dead' -a export -d 'Write all that is known of dead letters as JSON Lines, their bytes in base64'
complete -c mlq -n '__mlq_after dead' -a rerun -d 'Run a dead letter in a process of its own, away from the queues, to see what it does'

# mlq dead ls
complete -c mlq -n '__mlq_in dead ls' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Only those of this queue'
complete -c mlq -n '__mlq_in dead ls' -l reason -x -d 'Only those with this reason: crash, malformed, …'
complete -c mlq -n '__mlq_in dead ls' -l since -x -d 'Only those buried since: 2h, 3d, 2026-11-20T12:00Z'
complete -c mlq -n '__mlq_in dead ls' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in dead ls' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in dead ls' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in dead ls' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in dead ls' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in dead ls' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in dead ls' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in dead ls' -s h -l help -d 'Show this message and exit'

# mlq dead show
complete -c mlq -n '__mlq_in dead show' -l raw -d 'Its bytes'
complete -c mlq -n '__mlq_in dead show' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in dead show' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in dead show' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in dead show' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in dead show' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in dead show' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in dead show' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in dead show' -s h -l help -d 'Show this message and exit'

# mlq dead retry
complete -c mlq -n '__mlq_in dead retry' -l all -d 'All that the filters leave'
complete -c mlq -n '__mlq_in dead retry' -l rate -x -d 'So many a second'
complete -c mlq -n '__mlq_in dead retry' -l dry-run -d 'Say what would be done, and do nothing'
complete -c mlq -n '__mlq_in dead retry' -l yes -d 'Do not ask'
complete -c mlq -n '__mlq_in dead retry' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Only those of this queue'
complete -c mlq -n '__mlq_in dead retry' -l reason -x -d 'Only those with this reason: crash, malformed, …'
complete -c mlq -n '__mlq_in dead retry' -l since -x -d 'Only those buried since: 2h, 3d, 2026-11-20T12:00Z'
complete -c mlq -n '__mlq_in dead retry' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in dead retry' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in dead retry' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in dead retry' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in dead retry' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in dead retry' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in dead retry' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in dead retry' -s h -l help -d 'Show this message and exit'

# mlq dead drop
complete -c mlq -n '__mlq_in dead drop' -l all -d 'All that the filters leave'
complete -c mlq -n '__mlq_in dead drop' -l dry-run -d 'Say what would be done, and do nothing'
complete -c mlq -n '__mlq_in dead drop' -l yes -d 'Do not ask'
complete -c mlq -n '__mlq_in dead drop' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Only those of this queue'
complete -c mlq -n '__mlq_in dead drop' -l reason -x -d 'Only those with this reason: crash, malformed, …'
complete -c mlq -n '__mlq_in dead drop' -l since -x -d 'Only those buried since: 2h, 3d, 2026-11-20T12:00Z'
complete -c mlq -n '__mlq_in dead drop' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in dead drop' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in dead drop' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in dead drop' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in dead drop' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in dead drop' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in dead drop' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in dead drop' -s h -l help -d 'Show this message and exit'

# mlq dead export
complete -c mlq -n '__mlq_in dead export' -s o -l output-file -r -F -d 'Write the answers as JSON Lines to FILE (default -, stdout)'
complete -c mlq -n '__mlq_in dead export' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Only those of this queue'
complete -c mlq -n '__mlq_in dead export' -l reason -x -d 'Only those with this reason: crash, malformed, …'
complete -c mlq -n '__mlq_in dead export' -l since -x -d 'Only those buried since: 2h, 3d, 2026-11-20T12:00Z'
complete -c mlq -n '__mlq_in dead export' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in dead export' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in dead export' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in dead export' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in dead export' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in dead export' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in dead export' -s h -l help -d 'Show this message and exit'

# mlq dead rerun
complete -c mlq -n '__mlq_in dead rerun' -l gpu -x -d 'On this GPU; on the CPU, if not said'
complete -c mlq -n '__mlq_in dead rerun' -l model -r -F -d 'Model to serve: model.pt2, model.pt, serve.py:Class'
complete -c mlq -n '__mlq_in dead rerun' -l output -x -a 'raw classify' -d 'raw: the model\'s numbers; classify: class and confidence'
complete -c mlq -n '__mlq_in dead rerun' -l max-batch-size -x -d 'Rows in one forward, if the model names no limit'
complete -c mlq -n '__mlq_in dead rerun' -l time-limit -x -d 'End a task, or a forward, and its process after so long'
complete -c mlq -n '__mlq_in dead rerun' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in dead rerun' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in dead rerun' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in dead rerun' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in dead rerun' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in dead rerun' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in dead rerun' -s h -l help -d 'Show this message and exit'

# mlq queues
complete -c mlq -n '__mlq_after queues' -a ls -d 'Show the queues that the configuration, a worker or an earlier submit knows, or only NAMES'
complete -c mlq -n '__mlq_after queues' -a pause -d 'Let no worker take from a queue until it is resumed'
complete -c mlq -n '__mlq_after queues' -a resume -d 'Let workers take from a paused queue again'
complete -c mlq -n '__mlq_after queues' -a purge -d 'Drop every message that waits in a queue'

# mlq queues ls
complete -c mlq -n '__mlq_in queues ls' -l watch -x -d 'Show again every so many seconds, until Ctrl-C'
complete -c mlq -n '__mlq_in queues ls' -l all -d 'Look at the keys of the broker for queues that are not known, too'
complete -c mlq -n '__mlq_in queues ls' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in queues ls' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in queues ls' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in queues ls' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in queues ls' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in queues ls' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in queues ls' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in queues ls' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in queues ls' -a '(mlq values queues 2>/dev/null)'

# mlq queues pause
complete -c mlq -n '__mlq_in queues pause' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in queues pause' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in queues pause' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in queues pause' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in queues pause' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in queues pause' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in queues pause' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in queues pause' -a '(mlq values queues 2>/dev/null)'

# mlq queues resume
complete -c mlq -n '__mlq_in queues resume' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in queues resume' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in queues resume' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in queues resume' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in queues resume' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in queues resume' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in queues resume' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in queues resume' -a '(mlq values queues 2>/dev/null)'

# mlq queues purge
complete -c mlq -n '__mlq_in queues purge' -l yes -d 'Do not ask'
complete -c mlq -n '__mlq_in queues purge' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in queues purge' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in queues purge' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in queues purge' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in queues purge' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in queues purge' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in queues purge' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in queues purge' -a '(mlq values queues 2>/dev/null)'

# mlq events
complete -c mlq -n '__mlq_in events' -l orders -d 'Only orders of operators: the only events that there are today'
complete -c mlq -n '__mlq_in events' -l since -x -d 'Only events since then: 2h, 3d, 2026-11-20T12:00Z'
complete -c mlq -n '__mlq_in events' -s f -l follow -d 'Go on with what comes, until Ctrl-C'
complete -c mlq -n '__mlq_in events' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in events' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in events' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in events' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in events' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in events' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in events' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in events' -s h -l help -d 'Show this message and exit'

# mlq autoscale
complete -c mlq -n '__mlq_after autoscale' -a run -d 'Look at a queue every two seconds; start workers on free devices, drain idle ones, until Ctrl-C'
complete -c mlq -n '__mlq_after autoscale' -a simulate -d 'Replay a trace of arrivals through the policy: what would it have cost, how long would work have waited'

# mlq autoscale run
complete -c mlq -n '__mlq_in autoscale run' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Queue to scale for: the most urgent, if not said'
complete -c mlq -n '__mlq_in autoscale run' -l gpus -x -d 'GPUs: all, auto (the free ones), or indices or UUIDs, MIG\'s too'
complete -c mlq -n '__mlq_in autoscale run' -l cpus -x -d 'Start this many CPU workers instead'
complete -c mlq -n '__mlq_in autoscale run' -l name -x -d 'Prefix of the workers\' names, where one host runs several sets'
complete -c mlq -n '__mlq_in autoscale run' -l wait-broker -x -d 'Try so long to reach a broker that is away'
complete -c mlq -n '__mlq_in autoscale run' -l rollout -d 'Serve even if others serve these queues with another model'
complete -c mlq -n '__mlq_in autoscale run' -l keep-workers -d 'Leave the workers running at the end, for the next one to take over'
complete -c mlq -n '__mlq_in autoscale run' -l dry-run -d 'Decide and tell, but start and stop nobody'
complete -c mlq -n '__mlq_in autoscale run' -l once -d 'Decide once, tell, change nothing'
complete -c mlq -n '__mlq_in autoscale run' -l target-wait -x -d 'Seconds that work may wait: 2'
complete -c mlq -n '__mlq_in autoscale run' -l min -x -d 'Workers that are always there: 1'
complete -c mlq -n '__mlq_in autoscale run' -l max -x -d 'Workers at most: one for each device, 8 in a simulation'
complete -c mlq -n '__mlq_in autoscale run' -l preset -x -d 'economy, balanced (the default) or latency'
complete -c mlq -n '__mlq_in autoscale run' -l interval -x -d 'Seconds between two looks: 2'
complete -c mlq -n '__mlq_in autoscale run' -l zero-after -x -d 'With --min 0 the last one goes when idle for so long, with --threshold each: 300'
complete -c mlq -n '__mlq_in autoscale run' -l threshold -x -d 'The plain rule instead: one more while more wait'
complete -c mlq -n '__mlq_in autoscale run' -l max-wait -x -d 'Let rows wait so long for others to fill a batch: 0'
complete -c mlq -n '__mlq_in autoscale run' -l model -r -F -d 'Model to serve: model.pt2, model.pt, serve.py:Class'
complete -c mlq -n '__mlq_in autoscale run' -l output -x -a 'raw classify' -d 'raw: the model\'s numbers; classify: class and confidence'
complete -c mlq -n '__mlq_in autoscale run' -l max-batch-size -x -d 'Rows in one forward, if the model names no limit'
complete -c mlq -n '__mlq_in autoscale run' -l time-limit -x -d 'End a task, or a forward, and its process after so long'
complete -c mlq -n '__mlq_in autoscale run' -l queues -x -a '(__fish_complete_list , "mlq values queues 2>/dev/null")' -d 'Queues to serve, most urgent first'
complete -c mlq -n '__mlq_in autoscale run' -l share -x -d 'Device time that a queue gets at least'
complete -c mlq -n '__mlq_in autoscale run' -l soft-time-limit -x -d 'Raise SoftTimeLimitExceeded in it after so long'
complete -c mlq -n '__mlq_in autoscale run' -l max-tasks -x -d 'Replace a worker after so many tasks'
complete -c mlq -n '__mlq_in autoscale run' -l max-memory -x -d 'Replace a worker above so much resident memory'
complete -c mlq -n '__mlq_in autoscale run' -l drain-timeout -x -d 'Give back what still runs so long after a drain began'
complete -c mlq -n '__mlq_in autoscale run' -l json -d 'A line of JSON for each decision'
complete -c mlq -n '__mlq_in autoscale run' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in autoscale run' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in autoscale run' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in autoscale run' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in autoscale run' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in autoscale run' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in autoscale run' -s h -l help -d 'Show this message and exit'

# mlq autoscale simulate
complete -c mlq -n '__mlq_in autoscale simulate' -l policy -x -d 'mlq (the default), threshold (the plain rule: --threshold N, else 50), or static:N'
complete -c mlq -n '__mlq_in autoscale simulate' -l cold-start -x -d 'Seconds until a new worker takes work'
complete -c mlq -n '__mlq_in autoscale simulate' -l service-time -x -d 'Of tasks without one of their own (s)'
complete -c mlq -n '__mlq_in autoscale simulate' -l batch-time -x -d 'A forward of b rows takes A + B·b seconds'
complete -c mlq -n '__mlq_in autoscale simulate' -l plot -x -d 'Draw arrivals, workers, waits over time'
complete -c mlq -n '__mlq_in autoscale simulate' -l target-wait -x -d 'Seconds that work may wait: 2'
complete -c mlq -n '__mlq_in autoscale simulate' -l min -x -d 'Workers that are always there: 1'
complete -c mlq -n '__mlq_in autoscale simulate' -l max -x -d 'Workers at most: one for each device, 8 in a simulation'
complete -c mlq -n '__mlq_in autoscale simulate' -l preset -x -d 'economy, balanced (the default) or latency'
complete -c mlq -n '__mlq_in autoscale simulate' -l interval -x -d 'Seconds between two looks: 2'
complete -c mlq -n '__mlq_in autoscale simulate' -l zero-after -x -d 'With --min 0 the last one goes when idle for so long, with --threshold each: 300'
complete -c mlq -n '__mlq_in autoscale simulate' -l threshold -x -d 'The plain rule instead: one more while more wait'
complete -c mlq -n '__mlq_in autoscale simulate' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in autoscale simulate' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in autoscale simulate' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in autoscale simulate' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in autoscale simulate' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in autoscale simulate' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in autoscale simulate' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in autoscale simulate' -s h -l help -d 'Show this message and exit'

# mlq config
complete -c mlq -n '__mlq_in config' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in config' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in config' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in config' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in config' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in config' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in config' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in config' -s h -l help -d 'Show this message and exit'

# mlq acl
complete -c mlq -n '__mlq_in acl' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Only this queue; may be said several times. Default: those of the configuration'
complete -c mlq -n '__mlq_in acl' -l user -x -d 'The user\'s name; the role\'s, if not said'
complete -c mlq -n '__mlq_in acl' -l password-stdin -d 'Ask for a password, or read a line of stdin; its SHA-256 is printed'
complete -c mlq -n '__mlq_in acl' -l format -x -a 'cli file' -d 'For redis-cli, or for a line of the server\'s ACL file'
complete -c mlq -n '__mlq_in acl' -l json -d 'Answer as JSON'
complete -c mlq -n '__mlq_in acl' -l broker -x -d 'Broker URL, without a password (those go into MLQ_BROKER_URL)'
complete -c mlq -n '__mlq_in acl' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in acl' -s v -l verbose -d 'Say more'
complete -c mlq -n '__mlq_in acl' -s q -l quiet -d 'Say less: answers and errors only'
complete -c mlq -n '__mlq_in acl' -l no-color -d 'No colours'
complete -c mlq -n '__mlq_in acl' -l debug -d 'Show the traceback of an error'
complete -c mlq -n '__mlq_in acl' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in acl' -a 'client submitter worker'
