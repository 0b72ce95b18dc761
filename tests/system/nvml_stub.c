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
//   from 1 5 error=15            (from the fifth call about GPU 1 and its MIG devices on; * 5: any fifth call)
//   mig ... since=12             (this MIG device is there from the twelfth call about its GPU on)
//   counts 2 3                   (how many GPUs there are when first asked, and later)
//   event 0.5 gpu=1 type=8 data=79 gi=1 ci=0   (seconds after the events were registered; error=15: the wait fails)
//
// In a name an underscore stands for a space, in every text %ff for that byte. Interface values: NVIDIA's public nvml.h.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, TIMEOUT = 10, VERSION_MISMATCH = 25 };
enum { GPUS = 16, MIGS = 8, RULES = 64, TEXT = 96 };

struct device {
    struct device *parent; // the GPU of a MIG device, else NULL
    unsigned index, minor, brand, major_cc, minor_cc, mig_enabled, gi, ci, slices, migs, since, ats, calls;
    unsigned long long memory;
    char uuid[TEXT], pci[TEXT], name[TEXT];
    struct device *mig[MIGS];
};

struct rule {
    char call[TEXT]; // empty: any
    int gpu, error, sleep, abort;
    unsigned from;
};

struct event {
    double after;
    struct device *device;
    unsigned long long type, data;
    unsigned gi, ci;
    int error, told;
};

struct event_data {
    struct device *device;
    unsigned long long type, data;
    unsigned gi, ci;
};

struct pci_info {
    char legacy[16];
    unsigned domain, bus, device, pci_device, pci_subsystem;
    char bus_id[32];
};

struct addressing_mode {
    unsigned version, value;
};

struct attributes {
    unsigned multiprocessors, copy, decoders, encoders, jpeg, ofa, gpu_slices, compute_slices;
    unsigned long long memory;
};

static struct device all[GPUS], mig_devices[GPUS * MIGS];
static struct rule rules[RULES];
static struct event events[RULES];
static unsigned counts[RULES];
static unsigned gpus, migs, ruled, evented, counted, counts_told, started, calls;
static struct timespec registered;
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
    unsigned byte;
    if (strlen(text) >= TEXT)
        fatal("too long", text);
    for (; *text; text++, to++) {
        *to = spaces && *text == '_' ? ' ' : *text;
        if (*text == '%') {
            if (sscanf(text + 1, "%2x", &byte) != 1)
                fatal("not a byte", text);
            *to = (char)byte;
            text += 2;
        }
    }
    *to = 0;
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
    else if (!strcmp(key, "ats"))
        d->ats = number(value);
    else if (!strcmp(key, "since"))
        d->since = number(value);
    else if (strcmp(key, "cc") || sscanf(value, "%u.%u", &d->major_cc, &d->minor_cc) != 2)
        fatal("unknown key or value", key);
}

static void set_rule(struct rule *r, const char *key, const char *value) {
    int *field = !strcmp(key, "error") ? &r->error : !strcmp(key, "sleep") ? &r->sleep : &r->abort;
    if (field == &r->abort && strcmp(key, "abort"))
        fatal("unknown key", key);
    *field = number(value);
}

static void set_event(struct event *e, const char *key, const char *value) {
    if (!strcmp(key, "gpu"))
        e->device = &all[number(value) % GPUS];
    else if (!strcmp(key, "type"))
        e->type = number(value);
    else if (!strcmp(key, "data"))
        e->data = number(value);
    else if (!strcmp(key, "gi"))
        e->gi = number(value);
    else if (!strcmp(key, "ci"))
        e->ci = number(value);
    else if (!strcmp(key, "error"))
        e->error = number(value);
    else
        fatal("unknown key", key);
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

// call FUNCTION GPU, or from GPU NUMBER
static struct rule *new_rule(int is_from) {
    const char *first = strtok(NULL, " \n"), *second = strtok(NULL, " \n");
    if (!first || !second || ruled == RULES)
        fatal("needs two words, a function or a number and a GPU", first ? first : "");
    struct rule *r = &rules[ruled++];
    const char *gpu = is_from ? first : second;
    if (is_from)
        r->from = number(second);
    else
        copy(r->call, first, 0);
    r->gpu = strcmp(gpu, "*") ? (int)number(gpu) : -1;
    return r;
}

static struct event *new_event(void) {
    const char *after = strtok(NULL, " \n");
    if (!after || evented == RULES)
        fatal("event needs a time", "");
    events[evented].after = atof(after);
    events[evented].gi = events[evented].ci = 0xffffffff;
    return &events[evented++];
}

static void read_counts(void) {
    for (char *word; (word = strtok(NULL, " \n")) && counted < RULES;)
        counts[counted++] = number(word);
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
    if (!strcmp(word, "counts")) {
        read_counts();
        return;
    }
    struct device *d = !strcmp(word, "gpu") || !strcmp(word, "mig") ? new_device(*word == 'm') : NULL;
    struct rule *r = !strcmp(word, "call") || !strcmp(word, "from") ? new_rule(*word == 'f') : NULL;
    struct event *e = !strcmp(word, "event") ? new_event() : NULL;
    if (!d && !r && !e)
        fatal("unknown word", word);
    while ((word = strtok(NULL, " \n"))) {
        char *value = strchr(word, '=');
        if (!value)
            fatal("no key=value", word);
        *value++ = 0;
        if (d)
            set_device(d, word, value);
        else if (e)
            set_event(e, word, value);
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
static int enter(const char *call, struct device *d) {
    struct device *owner = d && d->parent ? d->parent : d;
    int gpu = owner ? (int)owner->index : -1;
    calls++;
    if (owner)
        owner->calls++;
    for (unsigned i = 0; i < ruled; i++) {
        if ((*rules[i].call && strcmp(rules[i].call, call)) || (rules[i].gpu != -1 && rules[i].gpu != gpu))
            continue;
        if (rules[i].from > (rules[i].gpu == -1 ? calls : owner->calls))
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
    if (counted) {
        *count = counts[counts_told];
        counts_told += counts_told + 1 < counted;
    }
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

int nvmlDeviceGetAddressingMode(struct device *device, struct addressing_mode *mode) {
    ENTER(device);
    if (mode->version != (sizeof *mode | 1 << 24))
        return VERSION_MISMATCH;
    mode->value = device->ats ? 2 : 0;
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
    if (index >= device->migs || device->mig[index]->since > device->calls)
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

int nvmlDeviceGetSupportedEventTypes(struct device *device, unsigned long long *types) {
    ENTER(device);
    *types = 0x1ff;
    return SUCCESS;
}

int nvmlEventSetCreate(void **set) {
    ENTER(NULL);
    *set = events;
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(struct device *device, unsigned long long types, void *set) {
    ENTER(device);
    (void)types;
    (void)set;
    clock_gettime(CLOCK_MONOTONIC, &registered);
    return SUCCESS;
}

// The next event of the script, or TIMEOUT; MIG events name the GPU, never the MIG device.
int nvmlEventSetWait_v2(void *set, struct event_data *data, unsigned milliseconds) {
    ENTER(NULL);
    (void)set;
    for (unsigned waited = 0;; waited += 10) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        double seconds = (now.tv_sec - registered.tv_sec) + (now.tv_nsec - registered.tv_nsec) / 1e9;
        for (struct event *e = events; e < events + evented; e++) {
            if (e->told || e->after > seconds)
                continue;
            e->told = 1;
            *data = (struct event_data){e->device, e->type, e->data, e->gi, e->ci};
            return e->error;
        }
        if (waited >= milliseconds)
            return TIMEOUT;
        usleep(10000);
    }
}

int nvmlEventSetFree(void *set) {
    ENTER(NULL);
    (void)set;
    return SUCCESS;
}
