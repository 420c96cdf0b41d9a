/* What the compiled engine does more cheaply than mypyc's own runtime: read and write fields, and hand out integers.
 *
 * Fields. Events, commands and records are msgspec structs, which mypyc reads by `PyObject_GetAttr`: a search through the type for
 * the descriptor of a slot, 20 ns where the interpreter's own `LOAD_ATTR_SLOT` needs 2. Here the place of a slot is remembered by
 * (version of the type, name). CPython gives a type that was changed another version and gives none twice (the caches of PEP 659
 * rest on the same), so what is found here is what the search would find. Whatever is no plain slot takes the search.
 *
 * Integers. mypyc keeps them unboxed and makes a new object each time that one is stored in a struct: the same instant would stand
 * in memory once for each field that has it, 190 bytes more a live call. Here what was made last is handed out again.
 *
 * setup.py includes this file into the C code that mypyc wrote.
 */
#ifndef TELLERHALL_FIELDS_H
#define TELLERHALL_FIELDS_H

#include <CPy.h>
#include <stddef.h>
#include <stdint.h>
#include <structmember.h>

#define FIELDS_COUNT 4096 /* A power of two: 60 types with 10 fields are 600 entries. */

typedef struct {
    PyObject *name; /* Borrowed: a constant of the compiled code, which lives as long as the process. */
    unsigned int version;
    int offset; /* Bytes from the start of the object; 0: not a slot, search. */
} Field;

static Field fields_read[FIELDS_COUNT];
static Field fields_written[FIELDS_COUNT];

static inline Field *field_at(Field *fields, unsigned int version, PyObject *name) {
    return &fields[(version * 31 + (unsigned int)((uintptr_t)name >> 4)) & (FIELDS_COUNT - 1)];
}

static int slot_offset(PyTypeObject *type, PyObject *name) {
    PyObject *found = PyObject_GetAttr((PyObject *)type, name);
    int offset = 0;
    if (found == NULL) {
        PyErr_Clear();
        return 0;
    }
    if (Py_IS_TYPE(found, &PyMemberDescr_Type)) {
        PyMemberDescrObject *descr = (PyMemberDescrObject *)found;
        if (descr->d_member->type == T_OBJECT_EX && PyType_IsSubtype(type, PyDescr_TYPE(descr)))
            offset = (int)descr->d_member->offset;
    }
    Py_DECREF(found);
    return offset;
}

static inline int is_known(Field *field, PyTypeObject *type, PyObject *name) {
    return field->name == name && field->version == type->tp_version_tag;
}

static void remember(Field *field, PyTypeObject *type, PyObject *name, int offset) {
    if (type->tp_version_tag != 0) {
        field->name = name;
        field->version = type->tp_version_tag;
        field->offset = offset;
    }
}

static CPy_NOINLINE PyObject *field_search(PyObject *object, PyObject *name, Field *field) {
    PyTypeObject *type = Py_TYPE(object);
    PyObject *value = PyObject_GetAttr(object, name);
    if (value != NULL && !is_known(field, type, name))
        remember(field, type, name, type->tp_getattro == PyObject_GenericGetAttr ? slot_offset(type, name) : 0);
    return value;
}

static CPy_NOINLINE PyObject *module_get(PyObject *module, PyObject *name) {
    PyObject *value = PyDict_GetItemWithError(PyModule_GetDict(module), name);
    if (likely(value != NULL)) {
        Py_INCREF(value);
        return value;
    }
    return PyErr_Occurred() ? NULL : PyObject_GetAttr(module, name);
}

static inline PyObject *field_get(PyObject *object, PyObject *name) {
    PyTypeObject *type = Py_TYPE(object);
    Field *field = field_at(fields_read, type->tp_version_tag, name);
    if (likely(is_known(field, type, name) && field->offset != 0)) {
        PyObject *value = *(PyObject **)((char *)object + field->offset);
        if (likely(value != NULL)) {
            Py_INCREF(value);
            return value;
        }
    }
    return type == &PyModule_Type ? module_get(object, name) : field_search(object, name, field);
}

/* Only what a plain write would do: no collector to tell of the object, no frozen struct (its first write failed). */
static CPy_NOINLINE int field_write(PyObject *object, PyObject *name, PyObject *value, Field *field) {
    PyTypeObject *type = Py_TYPE(object);
    int result = PyObject_SetAttr(object, name, value);
    if (result == 0 && !is_known(field, type, name))
        remember(field, type, name, PyType_IS_GC(type) ? 0 : slot_offset(type, name));
    return result;
}

static inline int field_set(PyObject *object, PyObject *name, PyObject *value) {
    PyTypeObject *type = Py_TYPE(object);
    Field *field = field_at(fields_written, type->tp_version_tag, name);
    if (likely(is_known(field, type, name) && field->offset != 0 && value != NULL)) {
        PyObject **place = (PyObject **)((char *)object + field->offset);
        PyObject *before = *place;
        Py_INCREF(value);
        *place = value;
        Py_XDECREF(before);
        return 0;
    }
    return field_write(object, name, value, field);
}

#define INTEGERS_COUNT 1024 /* A power of two: the integers of some hundred steps. */

typedef struct {
    PyObject *object; /* Owned, or NULL. */
    Py_ssize_t value;
} Integer;

static Integer integers[INTEGERS_COUNT];

static inline PyObject *integer_of(CPyTagged tagged) {
    if (unlikely(!CPyTagged_CheckShort(tagged)))
        return CPyTagged_StealAsObject(tagged);
    Py_ssize_t value = (Py_ssize_t)tagged >> 1;
    if (value >= -5 && value <= 256)
        return PyLong_FromSsize_t(value); /* CPython has these once. */
    Integer *known = &integers[((size_t)value ^ ((size_t)value >> 10)) & (INTEGERS_COUNT - 1)];
    PyObject *object = known->object;
    if (object != NULL && known->value == value) {
        Py_INCREF(object);
        return object;
    }
    known->object = CPyTagged_StealAsObject(tagged);
    known->value = value;
    Py_XDECREF(object);
    Py_INCREF(known->object);
    return known->object;
}

#undef CPyObject_GetAttr
#define CPyObject_GetAttr(object, name) field_get(object, name)
#define PyObject_SetAttr(object, name, value) field_set(object, name, value)

#define CPyTagged_StealAsObject(tagged) integer_of(tagged)

#endif
