# Bash completion for mlq. Made by completions/generate.py from the command line itself; do not edit.
# The words are in this file; only names (queues, workers, jobs) are asked of mlq, when one is wanted.

# Offer those of the given words that begin with what stands at the cursor.
_mlq_words() {
    local word
    for word in "$@"; do
        [[ $word == "$current"* ]] && COMPREPLY+=("$word")
    done
}

# Offer names that exist. They are data: quoted, never expanded.
_mlq_names() {
    local name
    while IFS= read -r name; do
        [[ $name == "$current"* ]] && printf -v name %q "$name" && COMPREPLY+=("$begun$name")
    done < <(mlq values "$1" 2>/dev/null)
}

# The same for a list with commas, of which the last name is being typed.
_mlq_list() {
    local begun=
    [[ $current == *,* ]] && begun=${current%,*},
    current=${current##*,}
    compopt -o nospace 2>/dev/null
    _mlq_names "$1"
}

# Offer files: readline does it best, where compopt (bash 4) can tell it to.
_mlq_files() {
    compopt -o default 2>/dev/null && return
    local name
    while IFS= read -r name; do
        COMPREPLY+=("$name")
    done < <(compgen -f -- "$current")
}

_mlq_up() {
    case $previous in
        --wait-broker | --max-batch-size | --time-limit | --max-wait | --share | --soft-time-limit | --max-tasks | --max-memory | --drain-timeout | --broker) : ;;
        --model | --config) _mlq_files ;;
        --output) _mlq_words raw classify ;;
        --queues) _mlq_list queues ;;
        *)
            case $current in
                -*) _mlq_words --wait-broker --rollout --take-unknown --model --output --max-batch-size --time-limit --max-wait --queues --share --soft-time-limit --max-tasks --max-memory --drain-timeout --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_worker() {
    if ((COMP_CWORD == at + 1)); then
        _mlq_words start ls drain stop restart logs
        _mlq_worker_ls
        return
    fi
    case ${COMP_WORDS[at + 1]} in
        start) _mlq_worker_start ;;
        drain) _mlq_worker_drain ;;
        stop) _mlq_worker_stop ;;
        restart) _mlq_worker_restart ;;
        logs) _mlq_worker_logs ;;
        *) _mlq_worker_ls ;;
    esac
}

_mlq_worker_start() {
    case $previous in
        --gpus | --per-gpu | --cpus | --pool | --concurrency | --name | --wait-broker | --max-batch-size | --time-limit | --max-wait | --share | --soft-time-limit | --max-tasks | --max-memory | --drain-timeout | --broker) : ;;
        --model | --config) _mlq_files ;;
        --output) _mlq_words raw classify ;;
        --queues) _mlq_list queues ;;
        *)
            case $current in
                -*) _mlq_words --gpus --per-gpu --cpus --pool --concurrency --name --wait-broker --rollout --take-unknown --detach --model --output --max-batch-size --time-limit --max-wait --queues --share --soft-time-limit --max-tasks --max-memory --drain-timeout --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_worker_ls() {
    case $previous in
        --watch | --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --watch --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_worker_drain() {
    case $previous in
        --host | --timeout | --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --all --host --timeout --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_names workers ;;
            esac
            ;;
    esac
}

_mlq_worker_stop() {
    case $previous in
        --host | --drain-timeout | --timeout | --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --all --host --drain-timeout --timeout --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_names workers ;;
            esac
            ;;
    esac
}

_mlq_worker_restart() {
    case $previous in
        --host | --drain-timeout | --timeout | --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --all --host --rolling --drain-timeout --timeout --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_names workers ;;
            esac
            ;;
    esac
}

_mlq_worker_logs() {
    case $previous in
        -n | --lines | --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --follow -f --lines -n --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_names workers ;;
            esac
            ;;
    esac
}

_mlq_submit() {
    case $previous in
        --queue) _mlq_names queues ;;
        --priority | --max-errors | --max-inflight | --timeout | --id-field | --job-id | --chunk | --broker) : ;;
        -o | --output-file | --errors | --config) _mlq_files ;;
        --order) _mlq_words input completion ;;
        --format) _mlq_words jsonl json csv tsv parquet files ;;
        --encoding) _mlq_words utf-8 utf-16 utf-16-le utf-16-be utf-32 latin-1 windows-1252 iso-8859-15 windows-1250 windows-1251 koi8-r shift_jis euc-jp gb18030 big5 euc-kr macroman ;;
        --delimiter) _mlq_words comma semicolon tab pipe space ;;
        *)
            case $current in
                -*) _mlq_words --queue --priority --wait --output-file -o --resume --order --errors --max-errors --max-inflight --timeout --id-field --job-id --format --encoding --delimiter --inline --tasks --chunk --create-queue --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_files ;;
            esac
            ;;
    esac
}

_mlq_result() {
    case $previous in
        -o | --output-file | --config) _mlq_files ;;
        --timeout | --broker) : ;;
        *)
            case $current in
                -*) _mlq_words --wait --output-file -o --timeout --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_names jobs ;;
            esac
            ;;
    esac
}

_mlq_job() {
    if ((COMP_CWORD == at + 1)); then
        _mlq_words ls show cancel
        _mlq_job_ls
        return
    fi
    case ${COMP_WORDS[at + 1]} in
        show) _mlq_job_show ;;
        cancel) _mlq_job_cancel ;;
        *) _mlq_job_ls ;;
    esac
}

_mlq_job_ls() {
    case $previous in
        --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_job_show() {
    case $previous in
        --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_names jobs ;;
            esac
            ;;
    esac
}

_mlq_job_cancel() {
    case $previous in
        --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_names jobs ;;
            esac
            ;;
    esac
}

_mlq_dead() {
    if ((COMP_CWORD == at + 1)); then
        _mlq_words ls show retry drop export rerun
        _mlq_dead_ls
        return
    fi
    case ${COMP_WORDS[at + 1]} in
        show) _mlq_dead_show ;;
        retry) _mlq_dead_retry ;;
        drop) _mlq_dead_drop ;;
        export) _mlq_dead_export ;;
        rerun) _mlq_dead_rerun ;;
        *) _mlq_dead_ls ;;
    esac
}

_mlq_dead_ls() {
    case $previous in
        --queue) _mlq_names queues ;;
        --reason | --since | --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --queue --reason --since --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_dead_show() {
    case $previous in
        --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --raw --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_dead_retry() {
    case $previous in
        --rate | --reason | --since | --broker) : ;;
        --queue) _mlq_names queues ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --all --rate --dry-run --yes --queue --reason --since --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_dead_drop() {
    case $previous in
        --queue) _mlq_names queues ;;
        --reason | --since | --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --all --dry-run --yes --queue --reason --since --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_dead_export() {
    case $previous in
        -o | --output-file | --config) _mlq_files ;;
        --queue) _mlq_names queues ;;
        --reason | --since | --broker) : ;;
        *)
            case $current in
                -*) _mlq_words --output-file -o --queue --reason --since --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_dead_rerun() {
    case $previous in
        --gpu | --max-batch-size | --time-limit | --broker) : ;;
        --model | --config) _mlq_files ;;
        --output) _mlq_words raw classify ;;
        *)
            case $current in
                -*) _mlq_words --gpu --model --output --max-batch-size --time-limit --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_queues() {
    if ((COMP_CWORD == at + 1)); then
        _mlq_words ls pause resume purge
        _mlq_queues_ls
        return
    fi
    case ${COMP_WORDS[at + 1]} in
        pause) _mlq_queues_pause ;;
        resume) _mlq_queues_resume ;;
        purge) _mlq_queues_purge ;;
        *) _mlq_queues_ls ;;
    esac
}

_mlq_queues_ls() {
    case $previous in
        --watch | --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --watch --all --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_names queues ;;
            esac
            ;;
    esac
}

_mlq_queues_pause() {
    case $previous in
        --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_names queues ;;
            esac
            ;;
    esac
}

_mlq_queues_resume() {
    case $previous in
        --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_names queues ;;
            esac
            ;;
    esac
}

_mlq_queues_purge() {
    case $previous in
        --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --yes --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_names queues ;;
            esac
            ;;
    esac
}

_mlq_events() {
    case $previous in
        --since | --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --orders --since --follow -f --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_autoscale() {
    if ((COMP_CWORD == at + 1)); then
        _mlq_words run simulate
        _mlq_autoscale_run
        return
    fi
    case ${COMP_WORDS[at + 1]} in
        simulate) _mlq_autoscale_simulate ;;
        *) _mlq_autoscale_run ;;
    esac
}

_mlq_autoscale_run() {
    case $previous in
        --queue) _mlq_names queues ;;
        --gpus | --cpus | --name | --wait-broker | --target-wait | --min | --max | --preset | --interval | --zero-after | --threshold | --max-batch-size | --time-limit | --max-wait | --share | --soft-time-limit | --max-tasks | --max-memory | --drain-timeout | --broker) : ;;
        --model | --config) _mlq_files ;;
        --output) _mlq_words raw classify ;;
        --queues) _mlq_list queues ;;
        *)
            case $current in
                -*) _mlq_words --queue --gpus --cpus --name --wait-broker --rollout --keep-workers --dry-run --once --target-wait --min --max --preset --interval --zero-after --threshold --model --output --max-batch-size --time-limit --max-wait --queues --share --soft-time-limit --max-tasks --max-memory --drain-timeout --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_autoscale_simulate() {
    case $previous in
        --policy | --cold-start | --service-time | --batch-time | --plot | --target-wait | --min | --max | --preset | --interval | --zero-after | --threshold | --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --policy --cold-start --service-time --batch-time --plot --target-wait --min --max --preset --interval --zero-after --threshold --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_config() {
    case $previous in
        --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
            esac
            ;;
    esac
}

_mlq_acl() {
    case $previous in
        --queue) _mlq_names queues ;;
        --user | --broker) : ;;
        --format) _mlq_words cli file ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --queue --user --password-stdin --format --json --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_words client submitter worker ;;
            esac
            ;;
    esac
}

_mlq_first() {
    case $previous in
        --broker) : ;;
        --config) _mlq_files ;;
        *)
            case $current in
                -*) _mlq_words --version --broker --config --verbose -v --quiet -q --no-color --debug --help -h ;;
                *) _mlq_words up worker submit result job dead queues events autoscale config acl ;;
            esac
            ;;
    esac
}

_mlq() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} begun= at
    COMPREPLY=()
    # Readline takes --queue=a for three words.
    [[ $current == = ]] && current=
    [[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD - 2]}
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            --broker | --config) [[ ${COMP_WORDS[at + 1]} == = ]] || ((at++)) ;;
            =) ((at++)) ;;
            -*) ;;
            *) break ;;
        esac
    done
    ((at < COMP_CWORD)) || { _mlq_first; return; }
    case ${COMP_WORDS[at]} in
        up) _mlq_up ;;
        worker) _mlq_worker ;;
        submit) _mlq_submit ;;
        result) _mlq_result ;;
        job) _mlq_job ;;
        dead) _mlq_dead ;;
        queues) _mlq_queues ;;
        events) _mlq_events ;;
        autoscale) _mlq_autoscale ;;
        config) _mlq_config ;;
        acl) _mlq_acl ;;
    esac
}

complete -F _mlq mlq
