//! libxml2 in this process. It promises that neither building nor the product needs it: the shared
//! library is looked for when it is asked for, and is not there on every machine.
//!
//! What is loaded stays to the end of the run: a library, and a few schemas.
#![expect(
    unsafe_code,
    reason = "a library in C is called, by pointers to functions that are found by their names"
)]

use anyhow::{Context, ensure};
use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr,
};

const FILE: &CStr = c"libxml2.so.2";
/// As the document says, by `XML_CHAR_ENCODING_NONE`.
const ENCODING_NONE: c_int = 0;

type Handle = *mut c_void;
type New = unsafe extern "C" fn(Handle) -> Handle;
type NewOfText = unsafe extern "C" fn(*const c_char) -> Handle;
type Free = unsafe extern "C" fn(Handle);
type OnError = extern "C" fn(Handle, Handle);
type SetErrors = unsafe extern "C" fn(Handle, OnError, Handle);
type OpenMemory = unsafe extern "C" fn(*const c_char, c_int, c_int) -> Handle;
type OpenFile = unsafe extern "C" fn(*const c_char, c_int) -> Handle;
type ValidateStream = unsafe extern "C" fn(Handle, Handle, c_int, Handle, Handle) -> c_int;

/// Messages are made, as ours are, and shown to nobody.
extern "C" fn drop_message(_: Handle, _: Handle) {}

/// The library, or nothing if it cannot be loaded.
fn open() -> Option<Handle> {
    // SAFETY: the name ends with a zero. Loading runs the library's initialisers, which this
    // library has none of.
    let handle = unsafe { libc::dlopen(FILE.as_ptr(), libc::RTLD_NOW) };
    (!handle.is_null()).then_some(handle)
}

pub(crate) fn is_there() -> bool {
    open().is_some()
}

/// The address of what the library exports by this name.
fn address(library: Handle, name: &CStr) -> anyhow::Result<Handle> {
    // SAFETY: the library is open and stays so, and the name ends with a zero.
    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
    ensure!(!found.is_null(), "libxml2 has no {name:?}");
    Ok(found)
}

/// The function of this name.
///
/// # Safety
/// `F` is a pointer to a function of the type that the library's header gives it.
unsafe fn function<F: Copy>(library: Handle, name: &CStr) -> anyhow::Result<F> {
    let found = address(library, name)?;
    // SAFETY: an address of a function is as large as a pointer to one; the caller answers for the
    // type.
    Ok(unsafe { std::mem::transmute_copy::<Handle, F>(&found) })
}

/// Its version as the library says it: 20914 is 2.9.14.
pub(crate) fn version() -> anyhow::Result<String> {
    let library = open().context("libxml2 is gone")?;
    let variable = address(library, c"xmlParserVersion")?.cast::<*const c_char>();
    // SAFETY: the header declares it as a constant pointer to a text that ends with a zero.
    let text = unsafe { CStr::from_ptr(*variable) };
    Ok(text.to_string_lossy().into_owned())
}

/// A schema that is parsed once, and what validates one document after the other by it, each as a
/// stream.
pub(crate) struct Validator {
    context: Handle,
    open_memory: OpenMemory,
    open_file: OpenFile,
    validate_stream: ValidateStream,
}

impl Validator {
    pub(crate) fn of(schema: &Path) -> anyhow::Result<Self> {
        let library = open().context("libxml2 is gone")?;
        let path = c_path(schema)?;
        // SAFETY: the types are those of xmlschemas.h and xmlIO.h; no handle is used before it was
        // found not to be null, or after it was freed; texts end with a zero and outlive the calls.
        unsafe {
            let new_parser: NewOfText = function(library, c"xmlSchemaNewParserCtxt")?;
            let parse: New = function(library, c"xmlSchemaParse")?;
            let free_parser: Free = function(library, c"xmlSchemaFreeParserCtxt")?;
            let new_context: New = function(library, c"xmlSchemaNewValidCtxt")?;
            let set_errors: SetErrors = function(library, c"xmlSchemaSetValidStructuredErrors")?;
            let parser = new_parser(path.as_ptr());
            ensure!(!parser.is_null(), "libxml2 has no memory");
            let parsed = parse(parser);
            free_parser(parser);
            ensure!(!parsed.is_null(), "libxml2 refuses {}", schema.display());
            let context = new_context(parsed);
            ensure!(!context.is_null(), "libxml2 has no memory");
            set_errors(context, drop_message, ptr::null_mut());
            Ok(Self {
                context,
                open_memory: function(library, c"xmlParserInputBufferCreateMem")?,
                open_file: function(library, c"xmlParserInputBufferCreateFilename")?,
                validate_stream: function(library, c"xmlSchemaValidateStream")?,
            })
        }
    }

    /// Is the document valid?
    pub(crate) fn accepts(&mut self, document: &[u8]) -> anyhow::Result<bool> {
        let bytes = c_int::try_from(document.len())?;
        // SAFETY: so many bytes are there, and stay until the input is read to its end, below.
        let input = unsafe { (self.open_memory)(document.as_ptr().cast(), bytes, ENCODING_NONE) };
        self.accepts_input(input)
    }

    /// Is the document in the file valid?
    pub(crate) fn accepts_file(&mut self, document: &Path) -> anyhow::Result<bool> {
        let path = c_path(document)?;
        // SAFETY: the text ends with a zero and outlives the call.
        let input = unsafe { (self.open_file)(path.as_ptr(), ENCODING_NONE) };
        self.accepts_input(input)
    }

    fn accepts_input(&mut self, input: Handle) -> anyhow::Result<bool> {
        ensure!(!input.is_null(), "libxml2 cannot open a document");
        let none = ptr::null_mut();
        // SAFETY: the context is of this library and used by one caller at a time; the input was
        // opened just now, and the library frees it.
        let code =
            unsafe { (self.validate_stream)(self.context, input, ENCODING_NONE, none, none) };
        ensure!(code >= 0, "libxml2 failed");
        Ok(code == 0)
    }
}

fn c_path(path: &Path) -> anyhow::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
