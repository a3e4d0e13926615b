# bash completion for semcachectl; printed by: semcachectl completion
_semcachectl()
{
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		ask|lookup|explain|watch|add|show|list|invalidate|flush|feedback|reject|accept|undo|stats|health|ping|hello|config|reload|drain|evaluate|calibrate) command=${COMP_WORDS[i]}; break ;;
		esac
	done
	case $previous in
	--socket) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
	--cache|-c)
		mapfile -t COMPREPLY < <(compgen -W 'default refresh no_store only' -- "$word"); return ;;
	--context) mapfile -t COMPREPLY < <(compgen -W 'all system' -- "$word"); return ;;
	--guards) mapfile -t COMPREPLY < <(compgen -W 'all:on all:off all:shadow' -- "$word"); return ;;
	--mode)
		mapfile -t COMPREPLY < <(compgen -W 'exact shadow threshold calibrated' -- "$word"); return ;;
	--config|--pairs|--plot|--out)
		mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
	esac
	# What evaluate and calibrate are about is in files.
	if [[ ($command == evaluate || $command == calibrate) && $word != -* ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
	fi
	local words
	case $command in
	ask) words='--namespace --model --system --parameter --question --context --threshold --max-age --exact --cache --ttl --tag --stream --quiet --json --timeout --connect-timeout --socket --help' ;;
	lookup) words='--namespace --model --system --parameter --question --context --threshold --max-age --exact --quiet --json --timeout --connect-timeout --socket --help' ;;
	explain) words='--namespace --model --system --parameter --question --context --threshold --max-age --exact --request --json --timeout --connect-timeout --socket --help' ;;
	watch) words='--namespace --json --timeout --connect-timeout --socket --help' ;;
	add) words='--namespace --model --system --parameter --question --context --ttl --tag --json --timeout --connect-timeout --socket --help' ;;
	show) words='--namespace --json --timeout --connect-timeout --socket --help' ;;
	list) words='--namespace --limit --after --json --timeout --connect-timeout --socket --help' ;;
	invalidate) words='--namespace --question --tag --entry --dry-run --json --timeout --connect-timeout --socket --help' ;;
	flush) words='--namespace --yes --json --timeout --connect-timeout --socket --help' ;;
	feedback) words='--namespace --model --system --parameter --question --context --json --timeout --connect-timeout --socket --help' ;;
	reject) words='--namespace --model --system --parameter --question --context --json --timeout --connect-timeout --socket --help' ;;
	accept) words='--namespace --model --system --parameter --question --context --json --timeout --connect-timeout --socket --help' ;;
	undo) words='--namespace --model --system --parameter --question --context --json --timeout --connect-timeout --socket --help' ;;
	stats) words='--prometheus --json --timeout --connect-timeout --socket --help' ;;
	health) words='--json --timeout --connect-timeout --socket --help' ;;
	ping) words='--json --timeout --connect-timeout --socket --help' ;;
	hello) words='--client --json --timeout --connect-timeout --socket --help' ;;
	config) words='--namespace --set --unset --json --timeout --connect-timeout --socket --help' ;;
	reload) words='--json --timeout --connect-timeout --socket --help' ;;
	drain) words='--json --timeout --connect-timeout --socket --help' ;;
	evaluate) words='--config --namespace --mode --threshold --margin --margin-floor --minimum --guards --second-opinion --opinion-weight --max-wrong --max-traps --tune --test --max-questions --json --plot --comparator --limit --compare-threshold --model --system --temperature --out --store --help' ;;
	calibrate) words='--config --namespace --pairs --only-pairs --max-false-hits-of-hits --confidence --comparator-error --guards --max-questions --out --dry-run --json --help' ;;
	*) words='ask lookup explain watch add show list invalidate flush feedback reject accept undo stats health ping hello config reload drain evaluate calibrate --json --timeout --connect-timeout --socket --help --version completion help' ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _semcachectl semcachectl
