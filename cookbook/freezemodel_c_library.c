/* Loads the frozen regression through TensorFlow's C API and runs it. Every binding makes the same calls.
 *
 *     results/freezemodel_c_library [MODEL [VALUES [CALLS]]]
 *
 * Reads frozen_graphs/frozen_linear_regression.pb unless MODEL names another graph with the same names. It checks no
 * digest: use a graph that you made, or that model_check.py has accepted. With CALLS it prints the microseconds of a
 * warm call instead of the results, with --version the version of TensorFlow.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensorflow/c/c_api.h"

#define INPUT "inputs/x_sample"
#define OUTPUT "linear_regression/add"

/* A serialized ConfigProto: intra_op_parallelism_threads 1, inter_op_parallelism_threads -1 (operations run in the caller's
 * thread), allow_soft_placement. */
static const char CONFIG[] = "\x10\x01\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x38\x01";

static void fail(const char *what, const char *why) {
	fprintf(stderr, "freezemodel_c_library: %s: %s\n", what, why);
	exit(1);
}

/* Every call that can fail sets a status, which only this function looks at. */
static void check(const TF_Status *status, const char *what) {
	if (TF_GetCode(status) != TF_OK)
		fail(what, TF_Message(status));
}

static TF_Buffer *read_file(const char *path) {
	FILE *file = fopen(path, "rb");
	if (!file)
		fail("no model", path);
	fseek(file, 0, SEEK_END);
	long size = ftell(file);
	char *data = size > 0 ? malloc(size) : NULL; /* TensorFlow crashes on an empty buffer */
	rewind(file);
	if (!data || fread(data, 1, size, file) != (size_t)size)
		fail("not a usable model file", path);
	fclose(file);
	TF_Buffer *buffer = TF_NewBufferFromString(data, size);
	free(data);
	return buffer;
}

static TF_Graph *load_graph(const char *path, TF_Status *status) {
	TF_Graph *graph = TF_NewGraph();
	TF_Buffer *graph_def = read_file(path);
	TF_ImportGraphDefOptions *options = TF_NewImportGraphDefOptions();
	TF_GraphImportGraphDef(graph, graph_def, options, status);
	TF_DeleteImportGraphDefOptions(options);
	TF_DeleteBuffer(graph_def);
	check(status, "cannot load");
	return graph;
}

static TF_Output find(TF_Graph *graph, const char *name) {
	TF_Output tensor = {TF_GraphOperationByName(graph, name), 0};
	if (!tensor.oper)
		fail("no such operation", name);
	if (TF_OperationOutputType(tensor) != TF_DOUBLE)
		fail("not float64", name);
	return tensor;
}

/* Comma-separated numbers as a tensor with one row. strtod also takes 0x1 and 1e999, which the consumers refuse. */
static TF_Tensor *feed(const char *list) {
	const char *text = list;
	int64_t shape[2] = {1, 1};
	for (const char *c = text; *c; c++)
		shape[1] += *c == ',';
	TF_Tensor *x = TF_AllocateTensor(TF_DOUBLE, shape, 2, shape[1] * sizeof(double));
	double *values = TF_TensorData(x);
	for (int64_t i = 0; i < shape[1]; i++) {
		char *end;
		values[i] = strtod(text, &end);
		if (end == text || *end != (i + 1 < shape[1] ? ',' : 0))
			fail("not comma-separated numbers", list);
		text = end + 1;
	}
	return x;
}

static TF_Tensor *run(TF_Session *session, TF_Output input, TF_Tensor *x, TF_Output output, TF_Status *status) {
	TF_Tensor *y = NULL;
	TF_SessionRun(session, NULL, &input, &x, 1, &output, &y, 1, NULL, 0, NULL, status);
	check(status, "cannot calculate");
	return y;
}

/* Prints the fewest digits that read back to the same number, with an exponent below -4 or from 21 on. */
static void print_number(double value) {
	char text[32];
	int digits = 1, exponent;
	if (!isfinite(value)) {
		printf(isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
		return;
	}
	do
		snprintf(text, sizeof text, "%.*e", digits - 1, value);
	while (strtod(text, NULL) != value && digits++ < 17);
	exponent = atoi(strchr(text, 'e') + 1);
	if (exponent < -4 || exponent >= 21) {
		printf("%s", text);
	} else if (exponent < digits - 1) {
		printf("%.*f", digits - 1 - exponent, value);
	} else { /* a whole number: its digits, then zeros */
		for (const char *c = text; *c != 'e'; c++)
			printf(*c == '.' ? "" : "%c", *c);
		printf("%.*s", exponent - digits + 1, "00000000000000000000");
	}
}

static void print_results(const TF_Tensor *y) {
	const double *results = TF_TensorData(y);
	printf("The calculation results : [");
	for (int64_t i = 0; i < TF_TensorElementCount(y); i++) {
		printf(i ? " " : "");
		print_number(results[i]);
	}
	printf("]\n");
}

static double microseconds(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

int main(int count, char **words) {
	if (count == 2 && !strcmp(words[1], "--version"))
		return printf("TensorFlow %s\n", TF_Version()) < 0;
	const char *values = count > 2 ? words[2] : "0,1,-1,2";
	TF_Status *status = TF_NewStatus();
	TF_Graph *graph = load_graph(count > 1 ? words[1] : "frozen_graphs/frozen_linear_regression.pb", status);
	TF_Output input = find(graph, INPUT), output = find(graph, OUTPUT);
	TF_SessionOptions *options = TF_NewSessionOptions();
	TF_SetConfig(options, CONFIG, sizeof CONFIG - 1, status);
	check(status, "not a ConfigProto");
	TF_Session *session = TF_NewSession(graph, options, status);
	TF_DeleteSessionOptions(options);
	check(status, "no session");

	double start = microseconds();
	int calls = count > 3 ? atoi(words[3]) : 1;
	if (calls < 1)
		fail("not a number of calls", words[3]);
	for (int i = -calls / 10; i < calls; i++) { /* the first calls are not measured */
		start = i == 0 ? microseconds() : start;
		TF_Tensor *x = feed(values), *y = run(session, input, x, output, status);
		if (count <= 3)
			print_results(y);
		TF_DeleteTensor(x);
		TF_DeleteTensor(y);
	}
	if (count > 3)
		printf("%.3f\n", (microseconds() - start) / calls);

	TF_CloseSession(session, status);
	TF_DeleteSession(session, status);
	TF_DeleteGraph(graph);
	TF_DeleteStatus(status);
	return 0;
}
