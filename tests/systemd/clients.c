/* Clients of libsemcache that ask without pause: clients COUNT WORD. Each has a handle of its own and asks questions that
 * nobody else asks, one after the other, until standard input ends. Then one line: "asked=N failed=N hits=N error=TEXT". */
#include "semcache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLIENTS_MOST 256

struct client {
	pthread_t thread;
	int number;
	const char *word;
	unsigned asked, failed, hits;
	char error[300];
};

static atomic_bool over;

static void ask(struct client *client, struct semcache *cache)
{
	struct semcache_question question = SEMCACHE_QUESTION;
	struct semcache_result *result;
	char text[100];

	(void)snprintf(text, sizeof(text), "%s %d.%u", client->word, client->number, client->asked++);
	question.prompt = text;
	question.exact = true;
	if (semcache_get_or_generate(cache, &question, NULL, NULL, &result) != 0) {
		const struct semcache_error *error = semcache_last_error(cache);
		client->failed++;
		(void)snprintf(client->error, sizeof(client->error), "%s: %s %s", text, semcache_code_name(error->code),
			       error->text);
		return;
	}
	if (semcache_result_answer(result)->tier != SEMCACHE_TIER_UPSTREAM)
		client->hits++;
	semcache_result_free(result);
}

static void *run(void *data)
{
	struct client *client = data;
	struct semcache *cache = semcache_open(NULL);

	if (!cache)
		abort();
	while (!atomic_load(&over))
		ask(client, cache);
	semcache_close(cache);
	return NULL;
}

int main(int argc, char **argv)
{
	static struct client clients[CLIENTS_MOST];
	unsigned asked = 0, failed = 0, hits = 0;
	const char *error = "";
	char byte;

	long count = argc == 3 ? strtol(argv[1], NULL, 10) : 0;
	if (count < 1 || count > CLIENTS_MOST)
		return 64;
	for (int i = 0; i < count; i++) {
		clients[i].number = i;
		clients[i].word = argv[2];
		if (pthread_create(&clients[i].thread, NULL, run, &clients[i]) != 0)
			abort();
	}
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	atomic_store(&over, true);
	for (int i = 0; i < count; i++) {
		(void)pthread_join(clients[i].thread, NULL);
		asked += clients[i].asked;
		failed += clients[i].failed;
		hits += clients[i].hits;
		if (clients[i].failed)
			error = clients[i].error;
	}
	printf("asked=%u failed=%u hits=%u error=%s\n", asked, failed, hits, error);
	return 0;
}
