/* What a consumer costs at least: the frozen graph through TensorFlow's C API, without a check, a flag or an error text.
 *
 *     floor MODEL           calculates x = 0, 1, -1, 2 and prints the results
 *     floor MODEL CALLS     prints the microseconds of a warm call: tensor made, run, values read
 *     floor                 prints TensorFlow's version: what loading its library takes
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensorflow/c/c_api.h"

static const double X[4] = {0, 1, -1, 2};
/* A ConfigProto with intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1, allow_soft_placement=true. */
static const char CONFIG[] = "\x10\x01\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x38\x01";

static TF_Status *status;
static TF_Session *session;
static TF_Output input, output;

static void load(const char *path) {
	TF_Graph *graph = TF_NewGraph();
	TF_Buffer *buffer = TF_NewBuffer();
	FILE *file = fopen(path, "rb");
	if (!file)
		exit(1);
	buffer->data = malloc(1 << 20);
	buffer->length = fread((void *)buffer->data, 1, 1 << 20, file);
	TF_GraphImportGraphDef(graph, buffer, TF_NewImportGraphDefOptions(), status);
	TF_SessionOptions *options = TF_NewSessionOptions();
	TF_SetConfig(options, CONFIG, sizeof CONFIG - 1, status);
	session = TF_NewSession(graph, options, status);
	input = (TF_Output){TF_GraphOperationByName(graph, "inputs/x_sample"), 0};
	output = (TF_Output){TF_GraphOperationByName(graph, "linear_regression/add"), 0};
}

static void call(double *results) {
	const int64_t shape[2] = {1, 4};
	TF_Tensor *x = TF_AllocateTensor(TF_DOUBLE, shape, 2, sizeof X), *y = NULL;
	memcpy(TF_TensorData(x), X, sizeof X);
	TF_SessionRun(session, NULL, &input, &x, 1, &output, &y, 1, NULL, 0, NULL, status);
	if (TF_GetCode(status) != TF_OK)
		exit(1);
	memcpy(results, TF_TensorData(y), sizeof X);
	TF_DeleteTensor(x);
	TF_DeleteTensor(y);
}

int main(int count, char **words) {
	double results[4];
	status = TF_NewStatus();
	if (count == 1)
		return puts(TF_Version()) < 0;
	load(words[1]);
	call(results);
	if (count == 2)
		return printf("The calculation results : [%.17g %.17g %.17g %.17g]\n", results[0], results[1], results[2], results[3]) < 0;
	struct timespec start, end;
	int calls = atoi(words[2]);
	for (int i = 0; i < calls / 10; i++)
		call(results);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int i = 0; i < calls; i++)
		call(results);
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%.3f\n", ((end.tv_sec - start.tv_sec) * 1e6 + (end.tv_nsec - start.tv_nsec) / 1e3) / calls);
	return 0;
}
