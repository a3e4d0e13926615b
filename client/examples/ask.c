/* Asks one question through semcached, prints the answer as it comes, and then where it came from.
 *
 *	cc ask.c $(pkg-config --cflags --libs libsemcache) -o ask && ./ask "What is a Unix socket?" */
#include <semcache.h>

#include <stdio.h>

static void print(void *data, uint64_t id, const char *text, size_t length)
{
	(void)data;
	(void)id;
	(void)fwrite(text, 1, length, stdout);
	(void)fflush(stdout);
}

int main(int argc, char **argv)
{
	struct semcache_question question = SEMCACHE_QUESTION;
	const struct semcache_parameter parameters[] = {
		{.name = "temperature", .type = SEMCACHE_PARAMETER_NUMBER, .number = 0},
	};
	const struct semcache_message messages[] = {
		{"system", "Answer in one short sentence."},
		{"user", argc > 1 ? argv[1] : "What is a Unix socket?"},
	};
	struct semcache_result *result;
	struct semcache *cache = semcache_open(NULL);

	if (!cache) {
		perror("semcache_open");
		return 1;
	}
	question.messages = messages;
	question.message_count = 2;
	question.parameters = parameters;
	question.parameter_count = 1;
	if (semcache_get_or_generate(cache, &question, print, NULL, &result) != 0) {
		const struct semcache_error *error = semcache_last_error(cache);
		(void)fprintf(stderr, "%s: %s\n", semcache_code_name(error->code), error->text);
		semcache_close(cache);
		return 1;
	}
	const struct semcache_answer *answer = semcache_result_answer(result);
	(void)printf("\n[%s]", answer->tier_name);
	if (answer->has_similarity)
		(void)printf(" similarity %.3f, asked as: %s", answer->similarity, answer->original_query);
	(void)printf("\n");
	semcache_result_free(result);
	semcache_close(cache);
	return 0;
}
