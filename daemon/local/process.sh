# shellcheck shell=bash
# What quickstart runs: steps that take long and end, and parts that stay. Sourced; uses its `state`, `sockets`, `python`,
# `local_parts`.
#
# When all goes well a step shows that it goes on and ends with one line; a part is started once, writes down its process id
# itself, and is waited for until it answers.
#
# What can go wrong: a step fails (the first line of its output that looks like a reason is shown), Ctrl-C ends the step in
# progress but no part, a part ends at once or does not answer, somebody else has its socket. Each ends the program with one
# line. A process id that by now belongs to another process is told apart by its start time.
child='' told=''

say() { printf '%s\n' "$*" >&2; }

die()
{
	printf 'quickstart: %s\n' "$*" >&2
	told=1
	exit 1
}

# Never ends without a word: for a failure that nobody thought of.
ended() { [ "$1" = 0 ] || [ -n "$told" ] || printf 'quickstart: ended by an unexpected failure (%s)\n' "$2" >&2; }

# ---- steps ----

# Ctrl-C, or a signal to us: the step in progress is told, and waited for; parts that run already go on.
interrupted()
{
	trap '' INT TERM HUP
	if [ -n "$child" ]; then
		kill -INT -- "-$child" 2>/dev/null || kill -INT "$child" 2>/dev/null || true
		wait "$child" 2>/dev/null || true
	fi
	[ ! -t 2 ] || printf '\r\033[K' >&2
	told=1
	say "quickstart: interrupted. Run it again to go on from here; ./quickstart stop ends what runs."
	exit 130
}

# Starts a command as `child`, in a session of its own, so that only interrupted() ends it. Not so for sudo, which asks for
# its password at most once in one session. (<&0: what is started by & would read /dev/null.)
start_child()
{
	if [ "$1" = sudo ]; then
		(trap - INT && exec "$@") <&0 9>&- &
	else
		(trap - INT && exec setsid "$@") <&0 9>&- &
	fi
	child=$!
}

# Waits for `child` and returns its exit status.
wait_child()
{
	local status=0

	wait "$child" || status=$?
	child=''
	return "$status"
}

# Shows that a step goes on: its time and the last line it wrote; where nobody looks at a terminal, every ten seconds.
show_progress()
{
	local text=$1 log=$2 began=$SECONDS told=0 line

	while kill -0 "$child" 2>/dev/null; do
		sleep 0.2
		if [ -t 2 ]; then
			line=$(tail -c 400 "$log" | tr '\r' '\n' | tr -cd '[:print:]\n' | grep . | tail -n 1 || true)
			printf '\r\033[K%s … %d s  %.60s' "$text" $((SECONDS - began)) "$line" >&2
		elif ((SECONDS - began >= told + 10)); then
			told=$((SECONDS - began))
			say "$text … $told s"
		fi
	done
	[ ! -t 2 ] || printf '\r\033[K' >&2
}

# run_step TEXT LOG COMMAND…: runs the command with its output in the log; ends with one line when it fails.
run_step()
{
	local text=$1 log=$state/log/$2.log began=$SECONDS output reason
	shift 2

	touch "$log"
	output=$(($(stat -c %s "$log") + 1))
	printf '\n== %s\n' "$*" >>"$log"
	start_child "$@" </dev/null >>"$log" 2>&1
	show_progress "$text" "$log"
	if wait_child; then
		say "$text: done ($((SECONDS - began)) s)"
		return
	fi
	output=$(tail -c "+$output" "$log")
	if grep -q 'No space left on device' <<<"$output"; then
		die "$text: the disk is full. Free some space and run it again (see $log)"
	fi
	reason=$(grep -E -m 1 '^E:|ERROR|[Ee]rror( at|:)|undefined reference' <<<"$output" || tail -n 1 <<<"$output")
	die "$text failed: ${reason:-no reason given} (see $log)"
}

# ---- parts ----

process_start() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

# Prints the process id of a part that runs; nothing if it does not. A number that another process has by now is not its.
part_pid()
{
	local pid start boot

	read -r pid start boot _ 2>/dev/null <"$state/pid/$1" || return 0
	if [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] && [ "$(process_start "$pid")" = "$start" ] &&
		[ "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -c 1)" != Z ]; then
		printf '%s' "$pid"
	fi
}

# start_part NAME SOCKET MARK COMMAND…: starts the part in a session of its own, unless it runs already with the same mark (what
# it was made from). The new process writes its own id first. Its log starts anew, the one before is kept.
start_part()
{
	local name=$1 socket=$sockets/$2 mark=$3 holder born
	shift 3

	mark=$(printf '%s\n' "$mark" "$@" | sha256sum | cut -c 1-16)
	if [ -n "$(part_pid "$name")" ]; then
		[ "$(cut -d ' ' -f 4 "$state/pid/$name")" != "$mark" ] || return 0
		say "$name: has changed, is started anew"
		stop_part "$name"
	fi
	if holder=$("$python" "$local_parts/probe.py" listener --unix-socket "$socket" 2>/dev/null); then
		die "$name: the socket $socket is taken by process ${holder#pid=}: end that process, or use another --dir"
	fi
	[ ! -S "$socket" ] || rm -f "$socket"
	[ ! -f "$state/log/$name.log" ] || mv -f "$state/log/$name.log" "$state/log/$name.log.old"
	# shellcheck disable=SC2016 # expanded by the new process
	(trap - INT && exec setsid bash -c '
		read -r stat <"/proc/$$/stat" && read -ra stat <<<"${stat##*) }" && read -r boot </proc/sys/kernel/random/boot_id &&
		echo "$$ ${stat[19]} $boot $2" >"$1" && shift 2 && exec "$@"' start "$state/pid/$name" "$mark" "$@") \
		</dev/null >"$state/log/$name.log" 2>&1 9>&- &
	born=$!
	until [ "$(part_pid "$name")" ] || ! kill -0 "$born" 2>/dev/null; do sleep 0.02; done
}

# wait_part NAME SECONDS PROBE-ARGUMENT…: waits until the part answers.
wait_part()
{
	local name=$1 limit=$2 pid log=$state/log/$1.log began=$SECONDS answer
	shift 2

	pid=$(part_pid "$name")
	start_child "$python" "$local_parts/probe.py" "$@" --wait "$limit" --pid "${pid:-0}" >"$state/log/probe" 2>&1
	show_progress "waiting for $name" "$log"
	if wait_child; then
		return
	fi
	answer=$(tail -n 1 "$state/log/probe")
	if [ -z "$(part_pid "$name")" ]; then
		die "$name ended at once: $(grep . "$log" | tail -n 1 || echo 'without a word') (see $log)"
	fi
	die "$name runs (process $pid) but does not answer after $((SECONDS - began)) s: ${answer:-no reason}" \
		"(see $log; ./quickstart stop ends it)"
}

# Ends a part: asks it to, waits as long as it may take to finish what is in the air, then insists.
stop_part()
{
	local name=$1 pid until=$((SECONDS + 40))

	pid=$(part_pid "$name")
	if [ -n "$pid" ]; then
		kill -TERM "$pid" 2>/dev/null || true
		kill -CONT "$pid" 2>/dev/null || true
		while [ -n "$(part_pid "$name")" ] && ((SECONDS < until)); do sleep 0.1; done
		if [ -n "$(part_pid "$name")" ]; then
			say "$name did not end in 40 s: killed"
			kill -KILL "$pid" 2>/dev/null || true
			while [ -n "$(part_pid "$name")" ]; do sleep 0.1; done
		fi
	fi
	rm -f "$state/pid/$name"
}
