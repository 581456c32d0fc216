// 4 channels a vector: SSE2, NEON, or whatever the compiler makes of it.
#include "scan_table.h"
#define W 4
#define NS rgbx_generic
#include "scan_body.h"
