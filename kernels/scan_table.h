// What one instruction set offers; scan.cpp picks a table at run time.
#pragma once
#include "scan.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>
struct RgbxKernels {
    int width, chunk;
    void (*pack_bc)(const rgbx_scan_args&, int64_t b, int64_t k, int64_t l0, int64_t l1);
    void (*scan_fwd)(const rgbx_scan_args&, int64_t b, int64_t k, int64_t tile);
    void (*scan_bwd)(const rgbx_scan_args&, int64_t b, int64_t k, int64_t group);
    void (*reduce_bc)(const rgbx_scan_args&, int64_t b, int64_t k, int64_t n);
    void (*ss2d_pack)(const rgbx_ss2d_args&, int64_t b, int64_t k, int64_t l0, int64_t l1);
    void (*ss2d_fwd)(const rgbx_ss2d_args&, int64_t b, int64_t tile, float* both);    // 2 P W numbers to work in
    void (*ss2d_bwd)(const rgbx_ss2d_args&, int64_t b, int64_t group);
    void (*ss2d_reduce)(const rgbx_ss2d_args&, int64_t b, int64_t k, int64_t l0, int64_t l1);
    void (*window_pack)(const rgbx_window_args&, bool values, int64_t b, int64_t h, int64_t row);
    void (*window_rows)(const rgbx_window_args&, int64_t b, int64_t h, int64_t row, float* work);
    int window_height;                      // rows of queries that window_rows takes
    float (*fma_loop)(int64_t n);
};
