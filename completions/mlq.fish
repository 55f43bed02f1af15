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
complete -c mlq -n '__mlq_in' -a up -d 'Run a broker and a worker for each device of this machine'
complete -c mlq -n '__mlq_in' -a worker -d 'Start, list, drain, stop and restart workers; show their logs'
complete -c mlq -n '__mlq_in' -a submit -d 'Send the rows of a file; with --wait, collect the answers'
complete -c mlq -n '__mlq_in' -a result -d 'Collect the answers of a job or a task'
complete -c mlq -n '__mlq_in' -a job -d 'List submitted files and their progress; cancel a job'
complete -c mlq -n '__mlq_in' -a dead -d 'List, show, retry, drop, export and rerun dead letters'
complete -c mlq -n '__mlq_in' -a queues -d 'Show queues and their depth; pause, resume or purge a queue'
complete -c mlq -n '__mlq_in' -a events -d 'Show the orders of operators and their outcomes'
complete -c mlq -n '__mlq_in' -a autoscale -d 'Start and stop workers to keep waits below a target'
complete -c mlq -n '__mlq_in' -a config -d 'Show every setting, its value and where it came from'
complete -c mlq -n '__mlq_in' -a acl -d 'Print the rights of a client, submitter or worker on Redis'
complete -c mlq -n '__mlq_in' -l version -d 'Print the version and exit'
complete -c mlq -n '__mlq_in' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in' -s h -l help -d 'Show this message and exit'

# mlq up
complete -c mlq -n '__mlq_in up' -l wait-broker -x -d 'Seconds to keep trying to connect to the broker at startup (or as 5m, 2h; default 0)'
complete -c mlq -n '__mlq_in up' -l rollout -d 'Start even if other workers serve the same queues with another model'
complete -c mlq -n '__mlq_in up' -l take-unknown -d 'Start even if the workers do not know the tasks of most waiting messages'
complete -c mlq -n '__mlq_in up' -l model -r -F -d 'Model to serve: model.pt2, model.pt or serve.py:Class'
complete -c mlq -n '__mlq_in up' -l output -x -a 'raw classify' -d 'Form of the results: raw for the model\'s numbers, classify for class and confidence (default raw)'
complete -c mlq -n '__mlq_in up' -l max-batch-size -x -d 'Most rows in one forward pass, for a model that sets no limit of its own (default 32)'
complete -c mlq -n '__mlq_in up' -l time-limit -x -d 'Seconds after which a running task or forward pass is ended together with its process (or as 5m, 2h; default: no limit)'
complete -c mlq -n '__mlq_in up' -l max-wait -x -d 'Seconds to wait for more rows before running a partial batch (or as 5m, 2h; default 0)'
complete -c mlq -n '__mlq_in up' -l queues -x -a '(__fish_complete_list , "mlq values queues 2>/dev/null")' -d 'Queues to serve, most urgent first (default: all configured queues)'
complete -c mlq -n '__mlq_in up' -l share -x -d 'Smallest fraction of device time for a queue, such as batch=0.1 (default: none, strictly in the order of the queues)'
complete -c mlq -n '__mlq_in up' -l soft-time-limit -x -d 'Seconds after which SoftTimeLimitExceeded is raised in a running task or forward pass (or as 5m, 2h; default: no limit)'
complete -c mlq -n '__mlq_in up' -l max-tasks -x -d 'Number of tasks after which a worker is replaced (default: no limit)'
complete -c mlq -n '__mlq_in up' -l max-memory -x -d 'Bytes of resident memory above which a worker is replaced (or as 512MiB, 4GiB; default: no limit)'
complete -c mlq -n '__mlq_in up' -l drain-timeout -x -d 'Seconds to wait for running tasks during a drain (or as 5m, 2h; default: no limit); after that they go back to the queue'
complete -c mlq -n '__mlq_in up' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in up' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in up' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in up' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in up' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in up' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in up' -s h -l help -d 'Show this message and exit'

# mlq worker
complete -c mlq -n '__mlq_after worker' -a start -d 'Start one worker per device; restart workers that die'
complete -c mlq -n '__mlq_after worker' -a ls -d 'List the workers of all hosts, their state and what they run'
complete -c mlq -n '__mlq_after worker' -a drain -d 'Let workers finish their tasks and end; works on any host'
complete -c mlq -n '__mlq_after worker' -a stop -d 'Drain workers for up to 30 s, then end them; works on any host'
complete -c mlq -n '__mlq_after worker' -a restart -d 'Drain workers and start them again; works on any host'
complete -c mlq -n '__mlq_after worker' -a logs -d 'Show the last lines of the logs of workers'

# mlq worker start
complete -c mlq -n '__mlq_in worker start' -l gpus -x -d 'GPUs to start workers on: all, auto (the free and healthy ones), or indices or UUIDs of GPUs and MIG instances'
complete -c mlq -n '__mlq_in worker start' -l per-gpu -x -d 'Number of workers on each GPU (default 1)'
complete -c mlq -n '__mlq_in worker start' -l cpus -x -d 'Number of CPU workers to start instead of GPU workers'
complete -c mlq -n '__mlq_in worker start' -l pool -x -d 'Kind of worker: solo (one task at a time, the default) or prefork (Celery\'s pool of processes on the CPU)'
complete -c mlq -n '__mlq_in worker start' -l concurrency -x -d 'Number of processes in a prefork pool, or a range within which the pool scales'
complete -c mlq -n '__mlq_in worker start' -l name -x -d 'Prefix of the workers\' names, to tell several sets on one host apart'
complete -c mlq -n '__mlq_in worker start' -l wait-broker -x -d 'Seconds to keep trying to connect to the broker at startup (or as 5m, 2h; default 0)'
complete -c mlq -n '__mlq_in worker start' -l rollout -d 'Start even if other workers serve the same queues with another model'
complete -c mlq -n '__mlq_in worker start' -l take-unknown -d 'Start even if the workers do not know the tasks of most waiting messages'
complete -c mlq -n '__mlq_in worker start' -l detach -d 'Run in the background; return when the workers are ready'
complete -c mlq -n '__mlq_in worker start' -l model -r -F -d 'Model to serve: model.pt2, model.pt or serve.py:Class'
complete -c mlq -n '__mlq_in worker start' -l output -x -a 'raw classify' -d 'Form of the results: raw for the model\'s numbers, classify for class and confidence (default raw)'
complete -c mlq -n '__mlq_in worker start' -l max-batch-size -x -d 'Most rows in one forward pass, for a model that sets no limit of its own (default 32)'
complete -c mlq -n '__mlq_in worker start' -l time-limit -x -d 'Seconds after which a running task or forward pass is ended together with its process (or as 5m, 2h; default: no limit)'
complete -c mlq -n '__mlq_in worker start' -l max-wait -x -d 'Seconds to wait for more rows before running a partial batch (or as 5m, 2h; default 0)'
complete -c mlq -n '__mlq_in worker start' -l queues -x -a '(__fish_complete_list , "mlq values queues 2>/dev/null")' -d 'Queues to serve, most urgent first (default: all configured queues)'
complete -c mlq -n '__mlq_in worker start' -l share -x -d 'Smallest fraction of device time for a queue, such as batch=0.1 (default: none, strictly in the order of the queues)'
complete -c mlq -n '__mlq_in worker start' -l soft-time-limit -x -d 'Seconds after which SoftTimeLimitExceeded is raised in a running task or forward pass (or as 5m, 2h; default: no limit)'
complete -c mlq -n '__mlq_in worker start' -l max-tasks -x -d 'Number of tasks after which a worker is replaced (default: no limit)'
complete -c mlq -n '__mlq_in worker start' -l max-memory -x -d 'Bytes of resident memory above which a worker is replaced (or as 512MiB, 4GiB; default: no limit)'
complete -c mlq -n '__mlq_in worker start' -l drain-timeout -x -d 'Seconds to wait for running tasks during a drain (or as 5m, 2h; default: no limit); after that they go back to the queue'
complete -c mlq -n '__mlq_in worker start' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in worker start' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in worker start' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in worker start' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in worker start' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in worker start' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in worker start' -s h -l help -d 'Show this message and exit'

# mlq worker ls
complete -c mlq -n '__mlq_in worker ls' -l watch -x -d 'Seconds between two updates until Ctrl-C (or as 5m, 2h; default: print once)'
complete -c mlq -n '__mlq_in worker ls' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in worker ls' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in worker ls' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in worker ls' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in worker ls' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in worker ls' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in worker ls' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in worker ls' -s h -l help -d 'Show this message and exit'

# mlq worker drain
complete -c mlq -n '__mlq_in worker drain' -l all -d 'Select all workers of all hosts'
complete -c mlq -n '__mlq_in worker drain' -l host -x -d 'Select workers of this host only: all, or those named'
complete -c mlq -n '__mlq_in worker drain' -l timeout -x -d 'Seconds to wait for the outcome, then exit 7; the order stays in force (or as 5m, 2h; default: no limit)'
complete -c mlq -n '__mlq_in worker drain' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in worker drain' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in worker drain' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in worker drain' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in worker drain' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in worker drain' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in worker drain' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in worker drain' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in worker drain' -a '(mlq values workers 2>/dev/null)'

# mlq worker stop
complete -c mlq -n '__mlq_in worker stop' -l all -d 'Select all workers of all hosts'
complete -c mlq -n '__mlq_in worker stop' -l host -x -d 'Select workers of this host only: all, or those named'
complete -c mlq -n '__mlq_in worker stop' -l drain-timeout -x -d 'Seconds to wait for running tasks during a drain (or as 5m, 2h; default 30); after that they go back to the queue'
complete -c mlq -n '__mlq_in worker stop' -l timeout -x -d 'Seconds to wait for the outcome, then exit 7; the order stays in force (or as 5m, 2h; default: no limit)'
complete -c mlq -n '__mlq_in worker stop' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in worker stop' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in worker stop' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in worker stop' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in worker stop' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in worker stop' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in worker stop' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in worker stop' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in worker stop' -a '(mlq values workers 2>/dev/null)'

# mlq worker restart
complete -c mlq -n '__mlq_in worker restart' -l all -d 'Select all workers of all hosts'
complete -c mlq -n '__mlq_in worker restart' -l host -x -d 'Select workers of this host only: all, or those named'
complete -c mlq -n '__mlq_in worker restart' -l rolling -d 'Restart one worker after another, each when the one before is ready'
complete -c mlq -n '__mlq_in worker restart' -l drain-timeout -x -d 'Seconds to wait for running tasks during a drain (or as 5m, 2h; default: no limit); after that they go back to the queue'
complete -c mlq -n '__mlq_in worker restart' -l timeout -x -d 'Seconds to wait for the outcome, then exit 7; the order stays in force (or as 5m, 2h; default: no limit)'
complete -c mlq -n '__mlq_in worker restart' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in worker restart' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in worker restart' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in worker restart' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in worker restart' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in worker restart' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in worker restart' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in worker restart' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in worker restart' -a '(mlq values workers 2>/dev/null)'

# mlq worker logs
complete -c mlq -n '__mlq_in worker logs' -s f -l follow -d 'Print new lines as they are written, until Ctrl-C'
complete -c mlq -n '__mlq_in worker logs' -s n -l lines -x -d 'Number of lines to print, counted from the end (default 20)'
complete -c mlq -n '__mlq_in worker logs' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in worker logs' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in worker logs' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in worker logs' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in worker logs' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in worker logs' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in worker logs' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in worker logs' -a '(mlq values workers 2>/dev/null)'

# mlq submit
complete -c mlq -n '__mlq_in submit' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Queue to send to (default: the most urgent one for a single row, the least urgent one for a file)'
complete -c mlq -n '__mlq_in submit' -l priority -x -d 'Priority within the queue, from 0 to 9 (the most urgent)'
complete -c mlq -n '__mlq_in submit' -l wait -d 'Wait for the answers'
complete -c mlq -n '__mlq_in submit' -s o -l output-file -r -F -d 'File for the answers, as JSON Lines (default -, which is stdout)'
complete -c mlq -n '__mlq_in submit' -l resume -d 'Continue the output that -o names, or begin it; failed rows are sent again'
complete -c mlq -n '__mlq_in submit' -l order -x -a 'input completion' -d 'Order of the lines in the output: input (the default) or completion'
complete -c mlq -n '__mlq_in submit' -l errors -r -F -d 'File for the unchanged inputs of failed rows'
complete -c mlq -n '__mlq_in submit' -l max-errors -x -d 'Stop after more than N failed rows (default: no limit)'
complete -c mlq -n '__mlq_in submit' -l max-inflight -x -d 'Most messages that are sent but not answered at one time, with --wait (default 256)'
complete -c mlq -n '__mlq_in submit' -l timeout -x -d 'Seconds to wait for the answers, then exit 7 (or as 5m, 2h; default: no limit)'
complete -c mlq -n '__mlq_in submit' -l id-field -x -d 'Field that holds the id of a row; every row must have it'
complete -c mlq -n '__mlq_in submit' -l job-id -x -d 'Id of the job; rows that the job has sent are not sent again'
complete -c mlq -n '__mlq_in submit' -l format -x -a 'jsonl json csv tsv parquet files' -d 'Format of FILE: jsonl, json, csv, tsv, parquet or files (default: detected from its name and content)'
complete -c mlq -n '__mlq_in submit' -l encoding -x -a 'utf-8 utf-16 utf-16-le utf-16-be utf-32 latin-1 windows-1252 iso-8859-15 windows-1250 windows-1251 koi8-r shift_jis euc-jp gb18030 big5 euc-kr macroman' -d 'Encoding of FILE, such as latin-1 or utf-16-le (default: its byte-order mark, else utf-8)'
complete -c mlq -n '__mlq_in submit' -l delimiter -x -a 'comma semicolon tab pipe space' -d 'Separator of the fields in a CSV file: a character, or comma, semicolon, tab or pipe (default: detected from the header)'
complete -c mlq -n '__mlq_in submit' -l inline -d 'For a directory, send the content of the files instead of their paths'
complete -c mlq -n '__mlq_in submit' -l tasks -d 'Read rows as tasks: {"task", "args", "kwargs", "queue", "priority"}'
complete -c mlq -n '__mlq_in submit' -l chunk -x -d 'Rows in one message (default: as many as take about 250 ms)'
complete -c mlq -n '__mlq_in submit' -l create-queue -d 'Send even to queues that neither the configuration nor a worker knows'
complete -c mlq -n '__mlq_in submit' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in submit' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in submit' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in submit' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in submit' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in submit' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in submit' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in submit' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in submit' -F

# mlq result
complete -c mlq -n '__mlq_in result' -l wait -d 'Wait for the answers'
complete -c mlq -n '__mlq_in result' -s o -l output-file -r -F -d 'File for the answers, as JSON Lines (default -, which is stdout)'
complete -c mlq -n '__mlq_in result' -l timeout -x -d 'Seconds to wait for the answers, then exit 7 (or as 5m, 2h; default: no limit)'
complete -c mlq -n '__mlq_in result' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in result' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in result' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in result' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in result' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in result' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in result' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in result' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in result' -a '(mlq values jobs 2>/dev/null)'

# mlq job
complete -c mlq -n '__mlq_after job' -a ls -d 'List the jobs of the last 30 days, the newest first'
complete -c mlq -n '__mlq_after job' -a show -d 'Show the progress of a job'
complete -c mlq -n '__mlq_after job' -a cancel -d 'Cancel a job; results that exist stay readable'

# mlq job ls
complete -c mlq -n '__mlq_in job ls' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in job ls' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in job ls' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in job ls' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in job ls' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in job ls' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in job ls' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in job ls' -s h -l help -d 'Show this message and exit'

# mlq job show
complete -c mlq -n '__mlq_in job show' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in job show' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in job show' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in job show' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in job show' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in job show' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in job show' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in job show' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in job show' -a '(mlq values jobs 2>/dev/null)'

# mlq job cancel
complete -c mlq -n '__mlq_in job cancel' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in job cancel' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in job cancel' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in job cancel' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in job cancel' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in job cancel' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in job cancel' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in job cancel' -a '(mlq values jobs 2>/dev/null)'

# mlq dead
complete -c mlq -n '__mlq_after dead' -a ls -d 'List dead letters, the oldest first'
complete -c mlq -n '__mlq_after dead' -a show -d 'Show a dead letter and the beginning of its payload'
complete -c mlq -n '__mlq_after dead' -a retry -d 'Requeue dead letters, behind the messages that wait'
complete -c mlq -n '__mlq_after dead' -a drop -d 'Delete dead letters; they cannot be restored'
complete -c mlq -n '__mlq_after dead' -a export -d 'Write dead letters as JSON Lines, with their bytes in base64'
complete -c mlq -n '__mlq_after dead' -a rerun -d 'Run a dead letter in a separate process, to see why it failed'

# mlq dead ls
complete -c mlq -n '__mlq_in dead ls' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Select dead letters of this queue only'
complete -c mlq -n '__mlq_in dead ls' -l reason -x -d 'Select dead letters with this reason only, such as crash or malformed'
complete -c mlq -n '__mlq_in dead ls' -l since -x -d 'Select dead letters since this time only, such as 2h, 3d or 2026-11-20T12:00Z'
complete -c mlq -n '__mlq_in dead ls' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in dead ls' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in dead ls' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in dead ls' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in dead ls' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in dead ls' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in dead ls' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in dead ls' -s h -l help -d 'Show this message and exit'

# mlq dead show
complete -c mlq -n '__mlq_in dead show' -l raw -d 'Print the bytes of the message only'
complete -c mlq -n '__mlq_in dead show' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in dead show' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in dead show' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in dead show' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in dead show' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in dead show' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in dead show' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in dead show' -s h -l help -d 'Show this message and exit'

# mlq dead retry
complete -c mlq -n '__mlq_in dead retry' -l all -d 'Select all dead letters that match the filters'
complete -c mlq -n '__mlq_in dead retry' -l rate -x -d 'Messages to requeue per second, at most (default: no limit)'
complete -c mlq -n '__mlq_in dead retry' -l dry-run -d 'Print what would be done without doing it'
complete -c mlq -n '__mlq_in dead retry' -l yes -d 'Do not ask for confirmation'
complete -c mlq -n '__mlq_in dead retry' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Select dead letters of this queue only'
complete -c mlq -n '__mlq_in dead retry' -l reason -x -d 'Select dead letters with this reason only, such as crash or malformed'
complete -c mlq -n '__mlq_in dead retry' -l since -x -d 'Select dead letters since this time only, such as 2h, 3d or 2026-11-20T12:00Z'
complete -c mlq -n '__mlq_in dead retry' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in dead retry' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in dead retry' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in dead retry' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in dead retry' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in dead retry' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in dead retry' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in dead retry' -s h -l help -d 'Show this message and exit'

# mlq dead drop
complete -c mlq -n '__mlq_in dead drop' -l all -d 'Select all dead letters that match the filters'
complete -c mlq -n '__mlq_in dead drop' -l dry-run -d 'Print what would be done without doing it'
complete -c mlq -n '__mlq_in dead drop' -l yes -d 'Do not ask for confirmation'
complete -c mlq -n '__mlq_in dead drop' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Select dead letters of this queue only'
complete -c mlq -n '__mlq_in dead drop' -l reason -x -d 'Select dead letters with this reason only, such as crash or malformed'
complete -c mlq -n '__mlq_in dead drop' -l since -x -d 'Select dead letters since this time only, such as 2h, 3d or 2026-11-20T12:00Z'
complete -c mlq -n '__mlq_in dead drop' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in dead drop' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in dead drop' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in dead drop' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in dead drop' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in dead drop' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in dead drop' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in dead drop' -s h -l help -d 'Show this message and exit'

# mlq dead export
complete -c mlq -n '__mlq_in dead export' -s o -l output-file -r -F -d 'File for the answers, as JSON Lines (default -, which is stdout)'
complete -c mlq -n '__mlq_in dead export' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Select dead letters of this queue only'
complete -c mlq -n '__mlq_in dead export' -l reason -x -d 'Select dead letters with this reason only, such as crash or malformed'
complete -c mlq -n '__mlq_in dead export' -l since -x -d 'Select dead letters since this time only, such as 2h, 3d or 2026-11-20T12:00Z'
complete -c mlq -n '__mlq_in dead export' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in dead export' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in dead export' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in dead export' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in dead export' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in dead export' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in dead export' -s h -l help -d 'Show this message and exit'

# mlq dead rerun
complete -c mlq -n '__mlq_in dead rerun' -l gpu -x -d 'GPU to run the message on (default: the CPU)'
complete -c mlq -n '__mlq_in dead rerun' -l model -r -F -d 'Model to serve: model.pt2, model.pt or serve.py:Class'
complete -c mlq -n '__mlq_in dead rerun' -l output -x -a 'raw classify' -d 'Form of the results: raw for the model\'s numbers, classify for class and confidence (default raw)'
complete -c mlq -n '__mlq_in dead rerun' -l max-batch-size -x -d 'Most rows in one forward pass, for a model that sets no limit of its own (default 32)'
complete -c mlq -n '__mlq_in dead rerun' -l time-limit -x -d 'Seconds after which a running task or forward pass is ended together with its process (or as 5m, 2h; default: no limit)'
complete -c mlq -n '__mlq_in dead rerun' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in dead rerun' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in dead rerun' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in dead rerun' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in dead rerun' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in dead rerun' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in dead rerun' -s h -l help -d 'Show this message and exit'

# mlq queues
complete -c mlq -n '__mlq_after queues' -a ls -d 'Show the depth, the age and the workers of queues'
complete -c mlq -n '__mlq_after queues' -a pause -d 'Pause a queue, so that workers take no messages from it'
complete -c mlq -n '__mlq_after queues' -a resume -d 'Resume a paused queue'
complete -c mlq -n '__mlq_after queues' -a purge -d 'Delete every message that waits in a queue'

# mlq queues ls
complete -c mlq -n '__mlq_in queues ls' -l watch -x -d 'Seconds between two updates until Ctrl-C (or as 5m, 2h; default: print once)'
complete -c mlq -n '__mlq_in queues ls' -l all -d 'Also search the keys of the broker for queues of other clients'
complete -c mlq -n '__mlq_in queues ls' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in queues ls' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in queues ls' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in queues ls' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in queues ls' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in queues ls' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in queues ls' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in queues ls' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in queues ls' -a '(mlq values queues 2>/dev/null)'

# mlq queues pause
complete -c mlq -n '__mlq_in queues pause' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in queues pause' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in queues pause' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in queues pause' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in queues pause' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in queues pause' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in queues pause' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in queues pause' -a '(mlq values queues 2>/dev/null)'

# mlq queues resume
complete -c mlq -n '__mlq_in queues resume' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in queues resume' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in queues resume' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in queues resume' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in queues resume' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in queues resume' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in queues resume' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in queues resume' -a '(mlq values queues 2>/dev/null)'

# mlq queues purge
complete -c mlq -n '__mlq_in queues purge' -l yes -d 'Do not ask for confirmation'
complete -c mlq -n '__mlq_in queues purge' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in queues purge' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in queues purge' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in queues purge' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in queues purge' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in queues purge' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in queues purge' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in queues purge' -a '(mlq values queues 2>/dev/null)'

# mlq events
complete -c mlq -n '__mlq_in events' -l orders -d 'Show orders of operators only (at present there are no other events)'
complete -c mlq -n '__mlq_in events' -l since -x -d 'Show events since this time only, such as 2h, 3d or 2026-11-20T12:00Z'
complete -c mlq -n '__mlq_in events' -s f -l follow -d 'Print new events as they happen, until Ctrl-C'
complete -c mlq -n '__mlq_in events' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in events' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in events' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in events' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in events' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in events' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in events' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in events' -s h -l help -d 'Show this message and exit'

# mlq autoscale
complete -c mlq -n '__mlq_after autoscale' -a run -d 'Start workers on free devices and drain idle ones, until Ctrl-C'
complete -c mlq -n '__mlq_after autoscale' -a simulate -d 'Replay a trace of arrivals; show what it would have cost'

# mlq autoscale run
complete -c mlq -n '__mlq_in autoscale run' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Queue to scale the workers of (default: the most urgent one)'
complete -c mlq -n '__mlq_in autoscale run' -l gpus -x -d 'GPUs to start workers on: all, auto (the free and healthy ones), or indices or UUIDs of GPUs and MIG instances'
complete -c mlq -n '__mlq_in autoscale run' -l cpus -x -d 'Number of CPU workers to start instead of GPU workers'
complete -c mlq -n '__mlq_in autoscale run' -l name -x -d 'Prefix of the workers\' names, to tell several sets on one host apart'
complete -c mlq -n '__mlq_in autoscale run' -l wait-broker -x -d 'Seconds to keep trying to connect to the broker at startup (or as 5m, 2h; default 0)'
complete -c mlq -n '__mlq_in autoscale run' -l rollout -d 'Start even if other workers serve the same queues with another model'
complete -c mlq -n '__mlq_in autoscale run' -l keep-workers -d 'Leave the workers running at the end; the next autoscaler takes them over'
complete -c mlq -n '__mlq_in autoscale run' -l dry-run -d 'Print decisions without starting or stopping workers'
complete -c mlq -n '__mlq_in autoscale run' -l once -d 'Print one decision without starting or stopping workers, and exit'
complete -c mlq -n '__mlq_in autoscale run' -l target-wait -x -d 'Seconds that a task may wait in the queue (or as 5m, 2h; default 2)'
complete -c mlq -n '__mlq_in autoscale run' -l min -x -d 'Smallest number of workers (default 1)'
complete -c mlq -n '__mlq_in autoscale run' -l max -x -d 'Largest number of workers (default: one per device; 8 in a simulation)'
complete -c mlq -n '__mlq_in autoscale run' -l preset -x -d 'Balance of cost and latency: economy, balanced (the default) or latency'
complete -c mlq -n '__mlq_in autoscale run' -l interval -x -d 'Seconds between two decisions (or as 5m, 2h; default 2)'
complete -c mlq -n '__mlq_in autoscale run' -l zero-after -x -d 'Seconds that a worker stays idle before it is stopped: with --min 0 the last worker, with --threshold any worker (or as 5m, 2h; default 300)'
complete -c mlq -n '__mlq_in autoscale run' -l threshold -x -d 'Use the threshold policy: start one more worker while more than N tasks wait'
complete -c mlq -n '__mlq_in autoscale run' -l model -r -F -d 'Model to serve: model.pt2, model.pt or serve.py:Class'
complete -c mlq -n '__mlq_in autoscale run' -l output -x -a 'raw classify' -d 'Form of the results: raw for the model\'s numbers, classify for class and confidence (default raw)'
complete -c mlq -n '__mlq_in autoscale run' -l max-batch-size -x -d 'Most rows in one forward pass, for a model that sets no limit of its own (default 32)'
complete -c mlq -n '__mlq_in autoscale run' -l time-limit -x -d 'Seconds after which a running task or forward pass is ended together with its process (or as 5m, 2h; default: no limit)'
complete -c mlq -n '__mlq_in autoscale run' -l max-wait -x -d 'Seconds to wait for more rows before running a partial batch (or as 5m, 2h; default 0)'
complete -c mlq -n '__mlq_in autoscale run' -l queues -x -a '(__fish_complete_list , "mlq values queues 2>/dev/null")' -d 'Queues to serve, most urgent first (default: all configured queues)'
complete -c mlq -n '__mlq_in autoscale run' -l share -x -d 'Smallest fraction of device time for a queue, such as batch=0.1 (default: none, strictly in the order of the queues)'
complete -c mlq -n '__mlq_in autoscale run' -l soft-time-limit -x -d 'Seconds after which SoftTimeLimitExceeded is raised in a running task or forward pass (or as 5m, 2h; default: no limit)'
complete -c mlq -n '__mlq_in autoscale run' -l max-tasks -x -d 'Number of tasks after which a worker is replaced (default: no limit)'
complete -c mlq -n '__mlq_in autoscale run' -l max-memory -x -d 'Bytes of resident memory above which a worker is replaced (or as 512MiB, 4GiB; default: no limit)'
complete -c mlq -n '__mlq_in autoscale run' -l drain-timeout -x -d 'Seconds to wait for running tasks during a drain (or as 5m, 2h; default: no limit); after that they go back to the queue'
complete -c mlq -n '__mlq_in autoscale run' -l json -d 'Print each decision as a line of JSON'
complete -c mlq -n '__mlq_in autoscale run' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in autoscale run' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in autoscale run' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in autoscale run' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in autoscale run' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in autoscale run' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in autoscale run' -s h -l help -d 'Show this message and exit'

# mlq autoscale simulate
complete -c mlq -n '__mlq_in autoscale simulate' -l policy -x -d 'Policy to replay: mlq (the default), threshold (one more worker while more than --threshold tasks wait, default 50) or static:N (a fixed number of workers)'
complete -c mlq -n '__mlq_in autoscale simulate' -l cold-start -x -d 'Seconds from the start of a worker until it is ready (or as 5m, 2h; default 30)'
complete -c mlq -n '__mlq_in autoscale simulate' -l service-time -x -d 'Seconds that a task runs for which the trace has no service time (or as 5m, 2h; default 0.5)'
complete -c mlq -n '__mlq_in autoscale simulate' -l batch-time -x -d 'Time of a forward pass, A + B·n for n rows, in seconds or as 20ms,1ms (default: each row runs alone)'
complete -c mlq -n '__mlq_in autoscale simulate' -l plot -x -d 'File for a plot of arrivals, workers and waits over time'
complete -c mlq -n '__mlq_in autoscale simulate' -l target-wait -x -d 'Seconds that a task may wait in the queue (or as 5m, 2h; default 2)'
complete -c mlq -n '__mlq_in autoscale simulate' -l min -x -d 'Smallest number of workers (default 1)'
complete -c mlq -n '__mlq_in autoscale simulate' -l max -x -d 'Largest number of workers (default: one per device; 8 in a simulation)'
complete -c mlq -n '__mlq_in autoscale simulate' -l preset -x -d 'Balance of cost and latency: economy, balanced (the default) or latency'
complete -c mlq -n '__mlq_in autoscale simulate' -l interval -x -d 'Seconds between two decisions (or as 5m, 2h; default 2)'
complete -c mlq -n '__mlq_in autoscale simulate' -l zero-after -x -d 'Seconds that a worker stays idle before it is stopped: with --min 0 the last worker, with --threshold any worker (or as 5m, 2h; default 300)'
complete -c mlq -n '__mlq_in autoscale simulate' -l threshold -x -d 'Use the threshold policy: start one more worker while more than N tasks wait'
complete -c mlq -n '__mlq_in autoscale simulate' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in autoscale simulate' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in autoscale simulate' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in autoscale simulate' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in autoscale simulate' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in autoscale simulate' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in autoscale simulate' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in autoscale simulate' -s h -l help -d 'Show this message and exit'

# mlq config
complete -c mlq -n '__mlq_in config' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in config' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in config' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in config' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in config' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in config' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in config' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in config' -s h -l help -d 'Show this message and exit'

# mlq acl
complete -c mlq -n '__mlq_in acl' -l queue -x -a '(mlq values queues 2>/dev/null)' -d 'Queue that the user may use; can be given several times (default: the configured queues)'
complete -c mlq -n '__mlq_in acl' -l user -x -d 'Name of the user (default: the name of the role)'
complete -c mlq -n '__mlq_in acl' -l password-stdin -d 'Ask for a password, or read it from a line of stdin; print its SHA-256'
complete -c mlq -n '__mlq_in acl' -l format -x -a 'cli file' -d 'Form of the line: cli for redis-cli (the default), or file for the server\'s ACL file'
complete -c mlq -n '__mlq_in acl' -l json -d 'Print the answer as JSON'
complete -c mlq -n '__mlq_in acl' -l broker -x -d 'URL of the broker that holds the queues (default: the embedded broker); put a URL with a password into MLQ_BROKER_URL'
complete -c mlq -n '__mlq_in acl' -l config -r -F -d 'Configuration file to read instead of mlq.toml'
complete -c mlq -n '__mlq_in acl' -s v -l verbose -d 'Print details to stderr'
complete -c mlq -n '__mlq_in acl' -s q -l quiet -d 'Print only answers and errors'
complete -c mlq -n '__mlq_in acl' -l no-color -d 'Print without colors'
complete -c mlq -n '__mlq_in acl' -l debug -d 'Print the traceback of an error'
complete -c mlq -n '__mlq_in acl' -s h -l help -d 'Show this message and exit'
complete -c mlq -n '__mlq_in acl' -a 'client submitter worker'
