// SPDX-License-Identifier: Apache-2.0
// A scripted libnvidia-ml.so.1: answers what nvidia-ml-py asks, from a text file, and fails as it is told to.
//
// The script is the file named by NVML_STUB_SCRIPT, else LIBRARY.script beside the library itself (links
// resolved). Lines; an unknown word, key or number is fatal, so that a typo cannot pass for an answer:
//
//   driver 535.183.01
//   cuda 12020
//   gpu uuid=GPU-... minor=0 pci=0000:07:00.0 name=NVIDIA_A100 brand=14 cc=8.0 mig=1      (index: line order)
//   mig uuid=MIG-... gi=1 ci=0 slices=1 memory=4864                                      (of the gpu above)
//   call nvmlDeviceGetUUID 1 error=15          (GPU 1 is lost; * instead of 1: every GPU, or no GPU at all)
//   call nvmlInit_v2 * sleep=30
//   call nvmlDeviceGetName 0 abort=1
//
// In a name an underscore stands for a space. Interface values: NVIDIA's public nvml.h.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7 };
enum { GPUS = 16, MIGS = 8, RULES = 64, TEXT = 96 };

struct device {
    struct device *parent; // the GPU of a MIG device, else NULL
    unsigned index, minor, brand, major_cc, minor_cc, mig_enabled, gi, ci, slices, migs;
    unsigned long long memory;
    char uuid[TEXT], pci[TEXT], name[TEXT];
    struct device *mig[MIGS];
};

struct rule {
    char call[TEXT];
    int gpu, error, sleep, abort;
};

struct pci_info {
    char legacy[16];
    unsigned domain, bus, device, pci_device, pci_subsystem;
    char bus_id[32];
};

struct attributes {
    unsigned multiprocessors, copy, decoders, encoders, jpeg, ofa, gpu_slices, compute_slices;
    unsigned long long memory;
};

static struct device all[GPUS], mig_devices[GPUS * MIGS];
static struct rule rules[RULES];
static unsigned gpus, migs, ruled, started;
static int cuda;
static char driver[TEXT];

static void fatal(const char *what, const char *text) {
    fprintf(stderr, "NVML stub: %s: %s\n", what, text);
    exit(97);
}

static unsigned long long number(const char *text) {
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end)
        fatal("not a number", text);
    return value;
}

static void copy(char *to, const char *text, int spaces) {
    if (strlen(text) >= TEXT)
        fatal("too long", text);
    strcpy(to, text);
    for (; spaces && *to; to++)
        if (*to == '_')
            *to = ' ';
}

static void set_device(struct device *d, const char *key, const char *value) {
    if (!strcmp(key, "uuid"))
        copy(d->uuid, value, 0);
    else if (!strcmp(key, "pci"))
        copy(d->pci, value, 0);
    else if (!strcmp(key, "name"))
        copy(d->name, value, 1);
    else if (!strcmp(key, "minor"))
        d->minor = number(value);
    else if (!strcmp(key, "brand"))
        d->brand = number(value);
    else if (!strcmp(key, "mig"))
        d->mig_enabled = number(value);
    else if (!strcmp(key, "gi"))
        d->gi = number(value);
    else if (!strcmp(key, "ci"))
        d->ci = number(value);
    else if (!strcmp(key, "slices"))
        d->slices = number(value);
    else if (!strcmp(key, "memory"))
        d->memory = number(value);
    else if (strcmp(key, "cc") || sscanf(value, "%u.%u", &d->major_cc, &d->minor_cc) != 2)
        fatal("unknown key or value", key);
}

static void set_rule(struct rule *r, const char *key, const char *value) {
    int *field = !strcmp(key, "error") ? &r->error : !strcmp(key, "sleep") ? &r->sleep : &r->abort;
    if (field == &r->abort && strcmp(key, "abort"))
        fatal("unknown key", key);
    *field = number(value);
}

static struct device *new_device(int is_mig) {
    if (is_mig ? !gpus || all[gpus - 1].migs == MIGS : gpus == GPUS)
        fatal("no place for", is_mig ? "mig" : "gpu");
    struct device *d = is_mig ? &mig_devices[migs++] : &all[gpus];
    if (is_mig) {
        d->parent = &all[gpus - 1];
        d->index = d->parent->migs;
        d->parent->mig[d->parent->migs++] = d;
    } else {
        d->index = gpus++;
    }
    return d;
}

static struct rule *new_rule(void) {
    const char *call = strtok(NULL, " \n"), *gpu = strtok(NULL, " \n");
    if (!call || !gpu || ruled == RULES)
        fatal("call needs a function and a GPU", call ? call : "");
    copy(rules[ruled].call, call, 0);
    rules[ruled].gpu = strcmp(gpu, "*") ? (int)number(gpu) : -1;
    return &rules[ruled++];
}

static void read_line(char *line) {
    char *word = strtok(line, " \n");
    if (!word || *word == '#')
        return;
    if (!strcmp(word, "driver") || !strcmp(word, "cuda")) {
        char *value = strtok(NULL, " \n");
        if (!value)
            fatal("no value", word);
        if (*word == 'd')
            copy(driver, value, 0);
        else
            cuda = number(value);
        return;
    }
    struct device *d = !strcmp(word, "gpu") || !strcmp(word, "mig") ? new_device(*word == 'm') : NULL;
    struct rule *r = !strcmp(word, "call") ? new_rule() : NULL;
    if (!d && !r)
        fatal("unknown word", word);
    while ((word = strtok(NULL, " \n"))) {
        char *value = strchr(word, '=');
        if (!value)
            fatal("no key=value", word);
        *value++ = 0;
        if (d)
            set_device(d, word, value);
        else
            set_rule(r, word, value);
    }
}

__attribute__((constructor)) static void read_script(void) {
    char path[PATH_MAX + 16], line[1024];
    const char *given = getenv("NVML_STUB_SCRIPT");
    Dl_info self;
    if (given) {
        snprintf(path, sizeof path, "%s", given);
    } else {
        if (!dladdr(all, &self) || !realpath(self.dli_fname, path))
            fatal("can't find myself", "dladdr");
        strcat(path, ".script");
    }
    FILE *stream = fopen(path, "re");
    if (!stream)
        fatal("can't read the script", path);
    while (fgets(line, sizeof line, stream))
        read_line(line);
    fclose(stream);
}

// What every call does first: obey the script, refuse to work before nvmlInit.
static int enter(const char *call, const struct device *d) {
    int gpu = !d ? -1 : (int)(d->parent ? d->parent : d)->index;
    for (unsigned i = 0; i < ruled; i++) {
        if (strcmp(rules[i].call, call) || (rules[i].gpu != -1 && rules[i].gpu != gpu))
            continue;
        if (rules[i].sleep)
            sleep(rules[i].sleep);
        if (rules[i].abort)
            abort();
        if (rules[i].error)
            return rules[i].error;
    }
    return started ? SUCCESS : UNINITIALIZED;
}

#define ENTER(device)                     \
    do {                                  \
        int status = enter(__func__, device); \
        if (status)                       \
            return status;                \
    } while (0)

static int text(char *to, unsigned room, const char *from) {
    if (strlen(from) >= room)
        return TOO_SMALL;
    strcpy(to, from);
    return SUCCESS;
}

static int start(const char *call) {
    started++;
    int status = enter(call, NULL);
    if (status)
        started--;
    return status;
}

int nvmlInit_v2(void) { return start(__func__); }

// The newer entry counts as the older one for the script: rules name nvmlInit_v2 alone.
int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return start("nvmlInit_v2");
}

int nvmlShutdown(void) {
    ENTER(NULL);
    started--;
    return SUCCESS;
}

const char *nvmlErrorString(int error) {
    static const char *const names[] = {"Success", "Uninitialized", "Invalid Argument", "Not Supported",
        "Insufficient Permissions", "Already Initialized", "Not Found", "Insufficient Size",
        "Insufficient External Power", "Driver Not Loaded", "Timeout", "Interrupt Request Issue",
        "NVML Shared Library Not Found", "Function Not Found", "Corrupted infoROM", "GPU is lost"};
    return error >= 0 && error < (int)(sizeof names / sizeof *names) ? names[error] : "Unknown Error";
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    ENTER(NULL);
    return text(version, length, driver);
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    ENTER(NULL);
    *version = cuda;
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

int nvmlDeviceGetCount_v2(unsigned *count) {
    ENTER(NULL);
    *count = gpus;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **device) {
    ENTER(index < gpus ? &all[index] : NULL);
    if (index >= gpus)
        return INVALID_ARGUMENT;
    *device = &all[index];
    return SUCCESS;
}

int nvmlDeviceGetUUID(struct device *device, char *uuid, unsigned length) {
    ENTER(device);
    return text(uuid, length, device->uuid);
}

int nvmlDeviceGetName(struct device *device, char *name, unsigned length) {
    ENTER(device);
    return text(name, length, (device->parent ? device->parent : device)->name);
}

#define GET_UNSIGNED(function, value)                          \
    int function(struct device *device, unsigned *result) {    \
        ENTER(device);                                         \
        *result = (value);                                     \
        return SUCCESS;                                        \
    }

GET_UNSIGNED(nvmlDeviceGetIndex, device->index)
GET_UNSIGNED(nvmlDeviceGetMinorNumber, device->minor)
GET_UNSIGNED(nvmlDeviceGetBrand, device->brand)
GET_UNSIGNED(nvmlDeviceGetMaxMigDeviceCount, device->mig_enabled ? MIGS - 1 : 0)
GET_UNSIGNED(nvmlDeviceGetGpuInstanceId, device->gi)
GET_UNSIGNED(nvmlDeviceGetComputeInstanceId, device->ci)
GET_UNSIGNED(nvmlDeviceIsMigDeviceHandle, device->parent != NULL)

int nvmlDeviceGetCudaComputeCapability(struct device *device, int *major, int *minor) {
    ENTER(device);
    *major = device->major_cc;
    *minor = device->minor_cc;
    return SUCCESS;
}

int nvmlDeviceGetPciInfo_v3(struct device *device, struct pci_info *info) {
    ENTER(device);
    unsigned function;
    memset(info, 0, sizeof *info);
    if (sscanf(device->pci, "%x:%x:%x.%x", &info->domain, &info->bus, &info->device, &function) != 4)
        fatal("not a PCI address", device->pci);
    snprintf(info->legacy, sizeof info->legacy, "%04X:%02X:%02X.0", info->domain & 0xffff, info->bus & 0xff,
             info->device & 0xff);
    snprintf(info->bus_id, sizeof info->bus_id, "%08X:%02X:%02X.0", info->domain, info->bus, info->device);
    return SUCCESS;
}

int nvmlDeviceGetMigMode(struct device *device, unsigned *current, unsigned *pending) {
    ENTER(device);
    if (device->parent || device->major_cc < 8)
        return NOT_SUPPORTED;
    *current = *pending = device->mig_enabled;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned index, struct device **mig) {
    ENTER(device);
    if (index >= device->migs)
        return NOT_FOUND;
    *mig = device->mig[index];
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct device *mig, struct device **device) {
    ENTER(mig);
    if (!mig->parent)
        return INVALID_ARGUMENT;
    *device = mig->parent;
    return SUCCESS;
}

int nvmlDeviceGetAttributes_v2(struct device *device, struct attributes *attributes) {
    ENTER(device);
    if (!device->parent)
        return NOT_SUPPORTED;
    memset(attributes, 0, sizeof *attributes);
    attributes->gpu_slices = attributes->compute_slices = device->slices;
    attributes->memory = device->memory;
    return SUCCESS;
}
