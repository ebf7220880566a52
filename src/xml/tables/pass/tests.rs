//! Schemas, with documents that are called valid and documents that are doubted. Each is read whole
//! and in windows of several sizes, and what is called valid is valid for the full engine.

use crate::xml::budget::NoRoom;
use std::collections::HashMap;
use std::fs;

use crate::xml::schema::{Keys, SchemaEngine};
use crate::xml::snapshot::Snapshot;
use crate::xml::tables::identity::BreachKind;
use crate::xml::{Source, XmlLimits, XsdSchema};

use super::*;

const PLENTY: usize = 1 << 24;

struct Case {
    snapshot: Snapshot,
    tables: Arc<Tables>,
}

impl Case {
    /// With what stands inside of `xs:schema`; `urn:a` is its namespace, and `a` its prefix.
    fn new(inside: &str) -> Case {
        Case::of_schema(&format!(
            "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema' xmlns:a='urn:a' \
             targetNamespace='urn:a' elementFormDefault='qualified'>{inside}</xs:schema>"
        ))
    }

    fn of_schema(schema: &str) -> Case {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("main.xsd"), schema).unwrap();
        let snapshot = Snapshot::read(dir.path(), "main.xsd", |_| Ok(None)).unwrap();
        let compiled = XsdSchema.compile(&snapshot, Keys::Checked).unwrap();
        let tables = Arc::clone(compiled.tables().unwrap());
        Case { snapshot, tables }
    }

    fn validation(&self, budget: usize) -> Validation {
        let tables = Arc::clone(&self.tables);
        Validation::new(tables, Arc::new(Budget::new(budget)), XmlLimits::default())
    }

    /// The verdict, which must not depend on how the document arrives.
    fn verdict(&self, document: &[u8]) -> Verdict {
        let whole = self.validation(PLENTY).of_whole(document);
        for size in [1, 2, 3, 7, 64] {
            let mut validation = self.validation(PLENTY);
            let mut pieces = document.chunks(size);
            while pieces.next().is_some_and(|piece| validation.read(piece)) {}
            let verdict = validation.finish();
            let text = String::from_utf8_lossy(document);
            match (whole, verdict) {
                (Verdict::Doubt(_), Verdict::Doubt(_)) => {}
                (whole, verdict) => assert_eq!(whole, verdict, "{size}: {text}"),
            }
        }
        whole
    }

    fn findings(&self, document: &[u8]) -> usize {
        let mut engine = XsdSchema.compile(&self.snapshot, Keys::Checked).unwrap();
        let source = Source::Memory(document);
        let findings = engine
            .validate(&source, &XmlLimits::default(), &Arc::default())
            .unwrap();
        findings.len()
    }

    #[track_caller]
    fn valid(&self, documents: &[&str]) {
        for document in documents {
            let document = document.as_bytes();
            let text = String::from_utf8_lossy(document);
            assert_eq!(self.verdict(document), Verdict::Valid, "{text}");
            assert_eq!(self.findings(document), 0, "{text}");
        }
    }

    /// What breaks an identity constraint and is wrong in no other way: the kinds and places of what is
    /// wrong, and the place of the first element with the value.
    #[track_caller]
    fn breached(&self, document: &str) -> Vec<(BreachKind, u64, Option<u64>)> {
        let document = document.as_bytes();
        assert_eq!(self.verdict(document), Verdict::Breached);
        let mut validation = self.validation(PLENTY);
        validation.of_whole(document);
        let of = |breach: &Breach| (breach.kind, breach.offset, breach.first);
        let traces = [1, 2, 7, 64, 1000].map(|size| {
            let mut first = self.validation(PLENTY);
            let mut pieces = document.chunks(size);
            while pieces.next().is_some_and(|piece| first.read(piece)) {}
            first.finish();
            let mut trace = first.trace();
            let mut pieces = document.chunks(size);
            while pieces.next().is_some_and(|piece| trace.read(piece)) {}
            trace.finish();
            trace.breaches().map(of).collect::<Vec<_>>()
        });
        assert!(traces.iter().all(|trace| *trace == traces[0]), "{traces:?}");
        assert_ne!(self.findings(document), 0);
        traces[0].clone()
    }

    /// What is wrong, and doubted.
    #[track_caller]
    fn wrong(&self, documents: &[&str]) {
        self.doubted(documents);
        for document in documents {
            assert_ne!(self.findings(document.as_bytes()), 0, "{document}");
        }
    }

    /// What is doubted, wrong or not.
    #[track_caller]
    fn doubted(&self, documents: &[&str]) {
        for document in documents {
            let verdict = self.verdict(document.as_bytes());
            assert!(matches!(verdict, Verdict::Doubt(_)), "{document}");
        }
    }
}

fn any() -> Case {
    Case::new("<xs:element name='r'/>")
}

#[test]
fn documents_are_well_formed() {
    let case = any();
    case.valid(&[
        "<r xmlns='urn:a'/>",
        "<?xml version='1.0' encoding='utf-8' standalone='yes'?>\n<r xmlns='urn:a' />\n",
        "<!-- a - b --><?p?><?p  q?><r xmlns=\"urn:a\"\n>t<![CDATA[<&]]]>&lt;&#10;<b/>]] ></r \n><!---->",
        "<a:r xmlns:a='urn:a'><ä>&amp;</ä></a:r>",
    ]);
    case.wrong(&[
        "", " ", "<", "<r", "<r xmlns='urn:a'>", "<r xmlns='urn:a'></r", "<r xmlns='urn:a'></s>",
        "<r xmlns='urn:a'></rr>", "<r xmlns='urn:a'/><r xmlns='urn:a'/>", "x<r xmlns='urn:a'/>",
        "<r xmlns='urn:a'/>x", "<r xmlns='urn:a'/>&#32;", " <?xml version='1.0'?><r xmlns='urn:a'/>",
"<?xml?><r xmlns='urn:a'/>",
        "<r xmlns='urn:a'>]]></r>", "<r xmlns='urn:a'>&nbsp;</r>", "<r xmlns='urn:a'>&#0;</r>",
        "<r xmlns='urn:a'>\u{1}</r>", "<r xmlns='urn:a'>\u{FFFF}</r>", "<r xmlns='urn:a'><!-- -- --></r>",
        "<r xmlns='urn:a'><!-- --->--></r>", "<r xmlns='urn:a'><?xml x?></r>", "<r xmlns='urn:a'><?p:q?></r>",
        "<r xmlns='urn:a'><?p!?></r>", "<r xmlns='urn:a'><1/></r>", "<r xmlns='urn:a'>& </r>",
        "<r xmlns='urn:a' x/>", "<r xmlns='urn:a' x=y/>", "<r xmlns='urn:a' x='<'/>",
        "<r xmlns='urn:a'x='y'/>", "<r xmlns='urn:a' x='1' x='2'/>", "<r xmlns='urn:a' x='&y;'/>",
        "</r>", "<![CDATA[]]><r xmlns='urn:a'/>", "<r xmlns='urn:a'><![CDATA[</r>",
        "<r xmlns='urn:a'><!x></r>", "<r xmlns='urn:a'/ >", "<!DOCTYPE r><r xmlns='urn:a'/>",
        "<r xmlns='urn:a' xsi:schemaLocation='&x;' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'/>",
    ]);
    case.doubted(&[
        "<?xml version='1.0' encoding='iso-8859-1'?><r xmlns='urn:a'/>",
        "<?xml version='1.1'?><r xmlns='urn:a'/>",
    ]);
    for bad in [
        &b"<r xmlns='urn:a'>\xFF</r>"[..],
        b"<r xmlns='urn:a'/>\xC3",
        b"<r xmlns='urn:a'>\xE2\x82</r>",
    ] {
        assert!(matches!(case.verdict(bad), Verdict::Doubt(_)));
    }
}

#[test]
fn namespaces_are_those_of_the_declarations_in_force() {
    let case = any();
    case.valid(&[
        "<p:r xmlns:p='urn:a' xmlns:q='urn:b'><q:x q:y='1' y='2' xmlns:q='urn:c'/><q:x/></p:r>",
        "<p:r xmlns:p='urn:a'><x xmlns='urn:x'><y xmlns='' xml:lang='en'/></x></p:r>",
    ]);
    case.wrong(&[
        "<r/>",
        "<p:r/>",
        "<r xmlns='urn:b'/>",
        "<p:r xmlns:p=''/>",
        "<p:r xmlns:p='urn:a'><x xmlns:q=''/></p:r>",
        "<p:r xmlns:p='urn:a' p:x='1' p:x='2'/>",
        "<p:r xmlns:p='urn:a' xmlns:q='urn:a' p:x='1' q:x='2'/>",
        "<p:r xmlns:p='urn:a'><x xmlns:f='urn:f' xmlns:g='urn:f' f:x='1' g:x='2'/></p:r>",
        "<p:r xmlns:p='urn:a'><x xmlns:q='urn:q'/><q:x/></p:r>",
        "<p:r xmlns:p='urn:a' xmlns:xml='urn:x'/>",
        "<p:r xmlns:p='urn:a' xmlns:xmlns='urn:x'/>",
        "<p:r xmlns:p='urn:a' q:x=''/>",
        "<xmlns:r/>",
        "<p:r xmlns:p='urn:a' xmlns:q='http://www.w3.org/2000/xmlns/'/>",
    ]);
}

#[test]
fn children_are_those_of_the_model() {
    let case = Case::new(
        "<xs:element name='r'><xs:complexType><xs:sequence>\
           <xs:element name='h' type='xs:string'/>\
           <xs:choice minOccurs='0' maxOccurs='unbounded'>\
             <xs:element name='i' type='xs:int'/><xs:element name='j' type='xs:date'/></xs:choice>\
           <xs:element name='k' minOccurs='2' maxOccurs='4'><xs:complexType/></xs:element>\
         </xs:sequence></xs:complexType></xs:element>",
    );
    let document = |inside: &str| format!("<r xmlns='urn:a'>{inside}</r>");
    for good in [
        "<h/><k/><k/>",
        " <h>x</h>\n<i>1</i><j>2026-11-27</j><i>2</i><k></k><k/><k/><k/>\t",
        "<h><!-- c -->x<![CDATA[y]]>&#x7A;</h><k/><!-- --><k/><?p?>",
        "<h/>\r\n&#32;&#x9;<k/>&#10;<k/>&#13; &#x20;",
        "<h/><![CDATA[ \n]]><k/><![CDATA[]]><k><![CDATA[]]></k> <![CDATA[\t]]>&#9;",
    ] {
        case.valid(&[&document(good)]);
    }
    for bad in [
        "",
        "<h/>",
        "<h/><k/>",
        "<h/><k/><k/><k/><k/><k/>",
        "<k/><k/>",
        "<h/><k/><i>1</i><k/>",
        "<h/><h/><k/><k/>",
        "<h/><i>x</i><k/><k/>",
        "<h/><k/><k/>x",
        "<h/><k> </k><k/>",
        "<h/><k><h/></k><k/>",
        "<h><h/></h><k/><k/>",
        "<h xmlns=''/><k/><k/>",
        "<h a='1'/><k/><k/>",
        "<h/><k/><k/>&#x85;",
        "<h/><k/><k/>&#32;&#120;",
        "<h/><k/><k/>&#32;&#xA0;",
        "<h/><k/><k/>&#32;&lt;",
        "<h/><k/><k/>&#32;&x;",
        "<h/><k/><k/><![CDATA[ x]]>",
        "<h/><k/><k/><![CDATA[&#32;]]>",
        "<h/><k/><k>&#32;</k>",
    ] {
        case.wrong(&[&document(bad)]);
    }
    // The engine takes them, although they are characters.
    case.doubted(&[&document("<h/><k/><k><![CDATA[ ]]></k>")]);
}

#[test]
fn members_of_all_stand_in_any_order() {
    let case = Case::new(
        "<xs:element name='r'><xs:complexType><xs:all>\
           <xs:element name='x'/><xs:element name='y' minOccurs='0'/><xs:element name='z'/>\
         </xs:all></xs:complexType></xs:element>",
    );
    let document = |inside: &str| format!("<r xmlns='urn:a'>{inside}</r>");
    for good in ["<x/><y/><z/>", "<z/><x/>", "<y/><z/><x/>"] {
        case.valid(&[&document(good)]);
    }
    for bad in ["", "<x/>", "<x/><z/><x/>", "<x/><y/>", "<x/><z/><w/>"] {
        case.wrong(&[&document(bad)]);
    }
}

#[test]
fn large_bounds_are_counted() {
    let case = Case::new(
        "<xs:element name='r'><xs:complexType><xs:sequence minOccurs='2' maxOccurs='3'>\
           <xs:element name='x' minOccurs='0' maxOccurs='300'/><xs:element name='y'/>\
         </xs:sequence></xs:complexType></xs:element>",
    );
    let document = |x: usize| format!("<r xmlns='urn:a'>{}<y/><x/><y/></r>", "<x/>".repeat(x));
    case.valid(&[&document(0), &document(300)]);
    case.wrong(&[
        &document(301),
        "<r xmlns='urn:a'><y/></r>",
        "<r xmlns='urn:a'><y/><y/><y/><y/></r>",
    ]);
    let case = Case::new(
        "<xs:element name='r'><xs:complexType><xs:sequence>\
           <xs:element name='x' maxOccurs='100000'/></xs:sequence></xs:complexType></xs:element>\
         <xs:element name='s'/>",
    );
    case.doubted(&["<r xmlns='urn:a'><x/></r>"]);
    case.valid(&["<s xmlns='urn:a'/>"]);
}

#[test]
fn attributes_are_those_of_the_type() {
    let case = Case::new(
        "<xs:attribute name='g' type='xs:int'/>\
         <xs:attributeGroup name='more'><xs:attribute name='m' type='xs:boolean'/>\
           <xs:anyAttribute namespace='##other' processContents='lax'/></xs:attributeGroup>\
         <xs:complexType name='base'><xs:attribute name='x' type='xs:int' use='required'/>\
           <xs:attribute name='y' fixed='1.0' type='xs:decimal'/>\
           <xs:attribute name='z' default='7' type='xs:int'/></xs:complexType>\
         <xs:complexType name='less'><xs:complexContent><xs:restriction base='a:base'>\
           <xs:attribute name='z' use='prohibited'/></xs:restriction></xs:complexContent></xs:complexType>\
         <xs:complexType name='more'><xs:complexContent><xs:extension base='a:base'>\
           <xs:attribute ref='a:g'/><xs:attributeGroup ref='a:more'/></xs:extension></xs:complexContent></xs:complexType>\
         <xs:element name='r' type='a:base'/><xs:element name='l' type='a:less'/><xs:element name='m' type='a:more'/>",
    );
    case.valid(&[
        "<r xmlns='urn:a' x='1'/>",
        "<r xmlns='urn:a' x=' &#49; ' y='1' z='2'/>",
        "<l xmlns='urn:a' x='1' y='1.00'/>",
        "<a:m xmlns:a='urn:a' x='1' m='true' a:g='1' b:c='d' xmlns:b='urn:b' xml:lang='de'/>",
    ]);
    case.wrong(&[
        "<r xmlns='urn:a'/>",
        "<r xmlns='urn:a' y='1'/>",
        "<r xmlns='urn:a' x='1' y='2'/>",
        "<r xmlns='urn:a' x=''/>",
        "<r xmlns='urn:a' x='1' w='1'/>",
        "<l xmlns='urn:a' x='1' z='1'/>",
        "<a:m xmlns:a='urn:a' x='1' g='1'/>",
        "<a:m xmlns:a='urn:a' x='1' a:h='1'/>",
        "<a:m xmlns:a='urn:a' x='1' a:g='x'/>",
        "<a:m xmlns:a='urn:a' x='1' m='x'/>",
        "<a:r xmlns:a='urn:a' a:x='1'/>",
    ]);
}

#[test]
fn attributes_may_be_many() {
    let declared = |n: usize| {
        let needed = if n.is_multiple_of(3) {
            "required"
        } else {
            "optional"
        };
        format!("<xs:attribute name='a{n}' type='xs:int' use='{needed}'/>")
    };
    let declared: String = (0..200).map(declared).collect();
    let case = Case::new(&format!(
        "<xs:element name='r'><xs:complexType>{declared}</xs:complexType></xs:element>"
    ));
    let with = |places: &[usize], more: &str| {
        let one = |n: &usize| format!(" a{n}='{n}'");
        let all: String = places.iter().map(one).collect();
        format!("<r xmlns='urn:a'{all}{more}/>")
    };
    let all: Vec<usize> = (0..200).rev().collect();
    let needed: Vec<usize> = (0..200).step_by(3).collect();
    case.valid(&[&with(&all, ""), &with(&needed, " a199='1'")]);
    for (n, place) in [(0, 0), (33, 99), (66, 198)] {
        let mut others = needed.clone();
        assert_eq!(others.remove(n), place);
        case.wrong(&[&with(&others, ""), &with(&others, " a1='1' a199='1'")]);
    }
    for more in [
        " a0='0'",
        " a99='99'",
        " a198='198'",
        " a200='1'",
        " a199='x'",
    ] {
        case.wrong(&[&with(&needed, more)]);
    }
    for (one, other) in [(0, 1), (0, 200), (150, 198)] {
        let mut places: Vec<usize> = all.iter().copied().filter(|n| *n != 5).collect();
        places.insert(one, 5);
        case.valid(&[&with(&places, "")]);
        places.insert(other, 5);
        case.wrong(&[&with(&places, "")]);
    }
    let limit = XmlLimits::default().attributes_max;
    let any = any();
    let many = |n: usize| {
        let all: String = (1..n).map(|n| format!(" b{n}=''")).collect();
        format!("<r xmlns='urn:a'{all}/>")
    };
    any.valid(&[&many(limit)]);
    any.doubted(&[&many(limit + 1)]);
}

#[test]
fn wildcards_check_as_much_as_they_say() {
    let case = Case::new(
        "<xs:element name='n' type='xs:int'/>\
         <xs:element name='r'><xs:complexType><xs:sequence>\
           <xs:element name='skip' minOccurs='0'><xs:complexType><xs:sequence>\
             <xs:any processContents='skip' maxOccurs='unbounded'/></xs:sequence></xs:complexType></xs:element>\
           <xs:element name='lax' minOccurs='0'><xs:complexType><xs:sequence>\
             <xs:any processContents='lax' maxOccurs='unbounded'/></xs:sequence></xs:complexType></xs:element>\
           <xs:element name='strict' minOccurs='0'><xs:complexType><xs:sequence>\
             <xs:any namespace='##targetNamespace'/></xs:sequence></xs:complexType></xs:element>\
         </xs:sequence></xs:complexType></xs:element>",
    );
    let xsi = "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'";
    let document = |inside: &str| format!("<r xmlns='urn:a'>{inside}</r>").replace('X', xsi);
    for good in [
        "<skip><n>x</n><o xmlns='urn:o' a='1'><n xmlns='urn:a'>x</n>&amp;</o></skip>",
        "<skip><n xsi:type='n' X/><n xsi:nil=' 1 ' X>x</n><n xsi:type=' xsi:a ' X/></skip>",
        "<skip><n xsi:schemaLocation='a &lt; b' xsi:noNamespaceSchemaLocation='' X/></skip>",
        "<lax><n>1</n><o>x<n>1</n></o></lax><strict><n>1</n></strict>",
    ] {
        case.valid(&[&document(good)]);
    }
    for bad in [
        "<skip/>",
        "<lax><n>x</n></lax>",
        "<lax><o><n>x</n></o></lax>",
        "<strict><o/></strict>",
        "<strict><n xmlns=''>1</n></strict>",
        "<skip><o a='&b;'/></skip>",
        "<skip><o>&b;</o></skip>",
        "<skip><n xsi:type='1' X/></skip>",
        "<skip><n xsi:nil='x' X/></skip>",
        "<skip><n xsi:schemaLocation='&b;' X/></skip>",
    ] {
        case.wrong(&[&document(bad)]);
    }
}

#[test]
fn derived_types_are_named_in_the_document() {
    let case = Case::new(
        "<xs:complexType name='base'><xs:sequence><xs:element name='x'/></xs:sequence></xs:complexType>\
         <xs:complexType name='longer'><xs:complexContent><xs:extension base='a:base'><xs:sequence>\
           <xs:element name='y'/></xs:sequence></xs:extension></xs:complexContent></xs:complexType>\
         <xs:complexType name='none' abstract='true'><xs:complexContent><xs:extension base='a:base'/>\
           </xs:complexContent></xs:complexType>\
         <xs:complexType name='other'/>\
         <xs:element name='r' type='a:base'/><xs:element name='b' type='a:base' block='extension'/>\
         <xs:element name='n' type='xs:decimal'/>",
    );
    let xsi = "xmlns='urn:a' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' \
               xmlns:xs='http://www.w3.org/2001/XMLSchema' xsi:schemaLocation='urn:a b'";
    for good in [
        "<r X><x/></r>",
        "<r X xsi:type='longer'><x/><y/></r>",
        "<r X xsi:type=' base '><x/></r>",
        "<n X xsi:type='xs:int'>1</n>",
    ] {
        case.valid(&[&good.replace('X', xsi)]);
    }
    for bad in [
        "<r X><x/><y/></r>",
        "<r X xsi:type='longer'><x/></r>",
        "<r X xsi:type='none'><x/></r>",
        "<r X xsi:type='other'/>",
        "<r X xsi:type='what'><x/></r>",
        "<r X xsi:type='q:base'><x/></r>",
        "<b X xsi:type='longer'><x/><y/></b>",
        "<n X xsi:type='xs:int'>1.0</n>",
        "<n X xsi:type='xs:string'>1</n>",
        "<r X xsi:what='1'><x/></r>",
    ] {
        case.wrong(&[&bad.replace('X', xsi)]);
    }
}

#[test]
fn types_that_are_no_valid_restriction_count_as_they_are_written() {
    let restriction = |name: &str, base: &str, inside: &str| {
        format!(
            "<xs:complexType name='{name}'><xs:complexContent><xs:restriction base='a:{base}'>{inside}\
             </xs:restriction></xs:complexContent></xs:complexType>"
        )
    };
    let case = Case::new(
        &[
            "<xs:complexType name='base'><xs:sequence><xs:element name='x' type='xs:int'/></xs:sequence>\
               <xs:attribute name='k' use='required' type='xs:int'/></xs:complexType>",
            &restriction(
                "wrong",
                "base",
                "<xs:sequence><xs:element name='x' type='xs:date' maxOccurs='2'/>\
                 <xs:element name='y' minOccurs='0'/></xs:sequence>\
                 <xs:attribute name='k' type='xs:string'/><xs:attribute name='n'/>\
                 <xs:anyAttribute processContents='lax'/>",
            ),
            &restriction(
                "narrow",
                "wrong",
                "<xs:sequence><xs:element name='x' type='xs:date'/></xs:sequence>",
            ),
            "<xs:complexType name='longer'><xs:complexContent><xs:extension base='a:wrong'><xs:sequence>\
               <xs:element name='z'/></xs:sequence></xs:extension></xs:complexContent></xs:complexType>\
             <xs:element name='r' type='a:base'/><xs:element name='w' type='a:wrong'/>\
             <xs:element name='b' type='a:base' block='restriction'/>\
             <xs:element name='s' type='a:wrong' substitutionGroup='a:r'/>\
             <xs:element name='l'><xs:complexType><xs:sequence><xs:element ref='a:r'/></xs:sequence>\
             </xs:complexType></xs:element>",
        ]
        .concat(),
    );
    let xsi = "xmlns='urn:a' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' \
               xmlns:o='urn:o'";
    let x = "<x>2026-01-31</x>";
    for good in [
        "<r X k='1'><x>1</x></r>",
        "<l X><r k='1'><x>1</x></r></l>",
        &format!("<w X>{x}{x}<y/></w>"),
        &format!("<r X xsi:type='wrong' k='t' n='' o:o=''>{x}<y/></r>"),
        &format!("<r X xsi:type='narrow'>{x}</r>"),
        &format!("<r X xsi:type='longer'>{x}<z/></r>"),
        &format!("<l X><s k='t'>{x}{x}</s></l>"),
    ] {
        case.valid(&[&good.replace('X', xsi)]);
    }
    for bad in [
        "<w X k='1'><x>1</x></w>",
        "<r X xsi:type='wrong' k='1'><x>1</x></r>",
        &format!("<r X>{x}</r>"),
        &format!("<r X k='t'>{x}</r>"),
        &format!("<w X>{x}{x}{x}</w>"),
        &format!("<r X xsi:type='narrow' n='' o:o=''>{x}</r>"),
        &format!("<r X xsi:type='narrow'>{x}{x}</r>"),
        &format!("<r X xsi:type='longer'>{x}</r>"),
        &format!("<b X xsi:type='wrong'>{x}</b>"),
        "<l X><s k='1'><x>1</x></s></l>",
    ] {
        case.wrong(&[&bad.replace('X', xsi)]);
    }
}

#[test]
fn nil_elements_are_empty() {
    let case = Case::new(
        "<xs:element name='r' nillable='true'><xs:complexType><xs:sequence><xs:element name='x'/>\
           </xs:sequence><xs:attribute name='y' type='xs:int'/></xs:complexType></xs:element>\
         <xs:element name='s' type='xs:int' nillable='true'/><xs:element name='t' type='xs:int'/>\
         <xs:element name='d' type='xs:int' nillable='true' default='5'/>\
         <xs:element name='f' type='xs:int' nillable='true' fixed='5'/>\
         <xs:element name='l'><xs:complexType><xs:sequence><xs:any processContents='lax'/></xs:sequence>\
           </xs:complexType></xs:element>",
    );
    let xsi = "xmlns='urn:a' xmlns:xs='http://www.w3.org/2001/XMLSchema' \
               xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:nil";
    for good in [
        "<r X='true' y='1'/>",
        "<r X='0'><x/></r>",
        "<s X='1'></s>",
        "<s X='false'>1</s>",
        "<s X=' 0 '>1</s>",
        "<d X='true'/>",
        "<d X='false'/>",
        "<d X='false'>1</d>",
        "<f X='false'/>",
        "<l xmlns='urn:a'><q:o xmlns:q='urn:o' X='1'>o<o/></q:o></l>",
        "<l xmlns='urn:a'><q:o xmlns:q='urn:o' X=' true '/></l>",
        "<l xmlns='urn:a'><s X='true'/></l>",
        "<o X='1' xsi:type='xs:int'>1</o>",
    ] {
        case.valid(&[&good.replace('X', xsi)]);
    }
    for bad in [
        "<r X='true'><x/></r>",
        "<r X='false'/>",
        "<s X='true'>1</s>",
        "<s X='yes'/>",
        "<t X='true'/>",
        "<t X='false'>1</t>",
        "<r X='true' y='x'/>",
        "<s X='true'> </s>",
        "<s X='true'>&#32;</s>",
        "<s X=' true '/>",
        "<d X='true'>1</d>",
        "<f X='true'/>",
        "<l xmlns='urn:a'><q:o xmlns:q='urn:o' X='x'/></l>",
        "<l xmlns='urn:a'><t X='false'>1</t></l>",
        "<o X='1' xsi:type='xs:int'/>",
    ] {
        case.wrong(&[&bad.replace('X', xsi)]);
    }
}

#[test]
fn substitutes_stand_for_their_heads() {
    let case = Case::new(
        "<xs:element name='head' type='xs:decimal' abstract='true'/>\
         <xs:element name='one' type='xs:int' substitutionGroup='a:head'/>\
         <xs:element name='two' substitutionGroup='a:one'/>\
         <xs:element name='r'><xs:complexType><xs:sequence><xs:element ref='a:head' maxOccurs='3'/>\
         </xs:sequence></xs:complexType></xs:element>",
    );
    case.valid(&["<r xmlns='urn:a'><one>1</one><two>2</two></r>"]);
    case.wrong(&[
        "<r xmlns='urn:a'><head>1</head></r>",
        "<r xmlns='urn:a'><one>1.5</one></r>",
        "<r xmlns='urn:a'><two>x</two></r>",
        "<r xmlns='urn:a'><three/></r>",
    ]);
}

#[test]
fn values_are_defaulted_or_fixed() {
    let case = Case::new(
        "<xs:element name='r'><xs:complexType><xs:sequence>\
           <xs:element name='d' type='xs:int' default='5'/><xs:element name='f' type='xs:decimal' fixed='1.0'/>\
         </xs:sequence></xs:complexType></xs:element>",
    );
    case.valid(&[
        "<r xmlns='urn:a'><d/><f/></r>",
        "<r xmlns='urn:a'><d>1</d><f> 1.00 </f></r>",
    ]);
    case.wrong(&[
        "<r xmlns='urn:a'><d>x</d><f/></r>",
        "<r xmlns='urn:a'><d/><f>2</f></r>",
    ]);
}

#[test]
fn values_without_a_key_are_defaulted_or_fixed() {
    let case = Case::new(
        "<xs:complexType name='t'><xs:attribute name='d' default='5'/><xs:attribute name='f' fixed='a &lt;'/>\
           <xs:attribute name='z' type='xs:time' fixed='12:00:00+01:00'/>\
           <xs:attribute name='q' type='xs:QName' fixed='a:x'/></xs:complexType>\
         <xs:complexType name='ids'><xs:attribute name='i' type='xs:IDREF' default='x'/></xs:complexType>\
         <xs:simpleType name='name'><xs:union memberTypes='xs:QName xs:string'/></xs:simpleType>\
         <xs:element name='r'><xs:complexType><xs:choice maxOccurs='unbounded'>\
           <xs:element name='t' type='a:t'/><xs:element name='id' type='xs:ID'/>\
           <xs:element name='ids' type='a:ids'/>\
           <xs:element name='to' type='xs:IDREF' default='x'/>\
           <xs:element name='s' type='xs:anySimpleType' fixed='s'/>\
           <xs:element name='z' type='xs:time' fixed='12:00:00+01:00'/>\
           <xs:element name='q' type='xs:QName' default='a:x'/>\
           <xs:element name='n' type='a:name' default='a:x'/></xs:choice></xs:complexType></xs:element>",
    );
    let document = |inside: &str| format!("<r xmlns='urn:a'>{inside}</r>");
    for good in [
        "<t/><t d='1'/><t f='a &lt;'/><t f='a &#60;' z='12:00:00+01:00'/>",
        "<id>x</id><to/>",
        "<s/><s>s</s><s><![CDATA[s]]></s><z/><z>12:00:00+01:00</z>",
        "<q xmlns:b='urn:b'>b:x</q><n>b:x</n>",
    ] {
        case.valid(&[&document(good)]);
    }
    for bad in [
        "<t f='a'/>",
        "<t f='a &amp;lt;'/>",
        "<t z='12:00:00Z'/>",
        "<t q='y'/>",
        "<to/>",
        "<s>t</s>",
        "<z>12:00:00Z</z>",
    ] {
        case.wrong(&[&document(bad)]);
    }
    case.doubted(&[
        &document("<t z='11:00:00Z'/>"),
        &document("<t q='a:x' xmlns:a='urn:a'/>"),
        &document("<id>x</id><ids/>"),
        &document("<z>11:00:00Z</z>"),
        &document("<q/>"),
        &document("<n/>"),
    ]);
}

#[test]
fn ids_are_enumerated() {
    let case = Case::new(
        "<xs:simpleType name='id'><xs:restriction base='xs:ID'><xs:enumeration value='x'/>\
           <xs:enumeration value='y'/></xs:restriction></xs:simpleType>\
         <xs:element name='r'><xs:complexType><xs:sequence>\
           <xs:element name='i' type='a:id' minOccurs='0' maxOccurs='unbounded'/>\
           <xs:element name='t' type='xs:IDREFS'/></xs:sequence></xs:complexType></xs:element>",
    );
    case.valid(&["<r xmlns='urn:a'><i>x</i><i> y </i><t>x y</t></r>"]);
    case.wrong(&[
        "<r xmlns='urn:a'><i>x</i><i>x</i><t>x</t></r>",
        "<r xmlns='urn:a'><i>x</i><t>y</t></r>",
        "<r xmlns='urn:a'><i>z</i><t>z</t></r>",
    ]);
}

#[test]
fn simple_content_has_the_facets_of_all_steps() {
    let case = Case::new(
        "<xs:simpleType name='code'><xs:restriction base='xs:token'><xs:pattern value='[A-Z]+'/>\
           <xs:maxLength value='3'/></xs:restriction></xs:simpleType>\
         <xs:complexType name='c'><xs:simpleContent><xs:extension base='a:code'>\
           <xs:attribute name='u'/></xs:extension></xs:simpleContent></xs:complexType>\
         <xs:complexType name='d'><xs:simpleContent><xs:restriction base='a:c'>\
           <xs:enumeration value='A'/><xs:enumeration value='BB'/></xs:restriction></xs:simpleContent></xs:complexType>\
         <xs:simpleType name='either'><xs:union memberTypes='xs:int a:code'/></xs:simpleType>\
         <xs:simpleType name='some'><xs:restriction><xs:simpleType><xs:list itemType='a:either'/></xs:simpleType>\
           <xs:minLength value='2'/></xs:restriction></xs:simpleType>\
         <xs:element name='c' type='a:c'/><xs:element name='d' type='a:d'/><xs:element name='s' type='a:some'/>",
    );
    case.valid(&[
        "<c xmlns='urn:a' u=''>\n ABC </c>",
        "<d xmlns='urn:a'>BB</d>",
        "<s xmlns='urn:a'>1 A\n22</s>",
    ]);
    case.wrong(&[
        "<c xmlns='urn:a'>ABCD</c>",
        "<c xmlns='urn:a'>a</c>",
        "<c xmlns='urn:a'><c/></c>",
        "<d xmlns='urn:a'>B</d>",
        "<s xmlns='urn:a'>1</s>",
        "<s xmlns='urn:a'>1 a</s>",
    ]);
}

#[test]
fn patterns_of_unions_are_known_where_white_space_does_not_matter() {
    let case = Case::new(
        "<xs:simpleType name='text'><xs:restriction base='xs:string'><xs:maxLength value='4'/>\
           </xs:restriction></xs:simpleType>\
         <xs:simpleType name='either'><xs:union memberTypes='xs:int a:text'/></xs:simpleType>\
         <xs:simpleType name='some'><xs:restriction base='a:either'><xs:pattern value='\\d+'/>\
           <xs:pattern value='[a-z ]+'/></xs:restriction></xs:simpleType>\
         <xs:simpleType name='few'><xs:restriction base='a:some'><xs:pattern value='.{1,3}'/>\
           <xs:enumeration value='1'/><xs:enumeration value='a b'/></xs:restriction></xs:simpleType>\
         <xs:element name='s' type='a:some'/><xs:element name='f' type='a:few'/>",
    );
    case.valid(&[
        "<s xmlns='urn:a'>12345</s>",
        "<s xmlns='urn:a'>a b</s>",
        "<f xmlns='urn:a'>01</f>",
        "<f xmlns='urn:a'>a b</f>",
    ]);
    case.wrong(&[
        "<s xmlns='urn:a'>-1</s>",
        "<s xmlns='urn:a'>abcde</s>",
        "<s xmlns='urn:a'/>",
        "<f xmlns='urn:a'>0001</f>",
        "<f xmlns='urn:a'>abcd</f>",
        "<f xmlns='urn:a'>2</f>",
    ]);
    case.doubted(&["<s xmlns='urn:a'> 1 </s>", "<s xmlns='urn:a'>a  b</s>"]);
}

#[test]
fn names_are_enumerated_by_what_their_prefixes_stand_for() {
    let case = Case::of_schema(
        "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema' xmlns='urn:a' xmlns:b='urn:b' \
           targetNamespace='urn:a' elementFormDefault='qualified'>\
         <xs:notation name='gif' public='gif'/><xs:notation name='png' public='png'/>\
         <xs:simpleType name='name'><xs:restriction base='xs:QName'><xs:maxLength value='2'/>\
           <xs:enumeration value='x'/><xs:enumeration value='b:y'/>\
           <xs:enumeration xmlns:b='urn:c' value='b:y'/><xs:enumeration xmlns='' value='z'/>\
           </xs:restriction></xs:simpleType>\
         <xs:simpleType name='form'><xs:restriction base='xs:NOTATION'>\
           <xs:enumeration value='gif'/></xs:restriction></xs:simpleType>\
         <xs:simpleType name='either'><xs:restriction><xs:simpleType><xs:union memberTypes='form name xs:int'/>\
           </xs:simpleType><xs:enumeration value='gif'/><xs:enumeration value='b:y'/></xs:restriction></xs:simpleType>\
         <xs:complexType name='c'><xs:simpleContent><xs:extension base='name'>\
           <xs:attribute name='f' type='form'/></xs:extension></xs:simpleContent></xs:complexType>\
         <xs:complexType name='d'><xs:simpleContent><xs:restriction base='c'>\
           <xs:enumeration value='b:y'/></xs:restriction></xs:simpleContent></xs:complexType>\
         <xs:simpleType name='all'><xs:list itemType='name'/></xs:simpleType>\
         <xs:element name='c' type='c'/><xs:element name='d' type='d'/><xs:element name='e' type='either'/>\
         <xs:element name='l' type='all'/></xs:schema>",
    );
    case.valid(&[
        "<c xmlns='urn:a' f='gif'>x</c>",
        "<q:c xmlns:q='urn:a' f=' q:gif '> q:x </q:c>",
        "<q:c xmlns:q='urn:a' xmlns='urn:c'>y</q:c>",
        "<q:c xmlns:q='urn:a' xmlns:long='urn:b'>long:y</q:c>",
        "<q:c xmlns:q='urn:a'>z</q:c>",
        "<q:d xmlns:q='urn:a' xmlns:b='urn:b'>b:y</q:d>",
        "<q:e xmlns:q='urn:a' xmlns='urn:b'>q:gif</q:e>",
        "<q:e xmlns:q='urn:a' xmlns='urn:b'>y</q:e>",
        "<q:l xmlns:q='urn:a' xmlns='urn:b'>y q:x</q:l>",
    ]);
    case.wrong(&[
        "<c xmlns='urn:a'>z</c>",
        "<c xmlns='urn:a' xmlns:b='urn:d'>b:y</c>",
        "<q:c xmlns:q='urn:a'>x</q:c>",
        "<c xmlns='urn:a'>b:y</c>",
        "<c xmlns='urn:a' f='png'>x</c>",
        "<q:c xmlns:q='urn:a' f='gif'>q:x</q:c>",
        "<q:d xmlns:q='urn:a' xmlns:b='urn:c'>b:y</q:d>",
        "<d xmlns='urn:a'>x</d>",
        "<e xmlns='urn:a'>x</e>",
        "<e xmlns='urn:a'>1</e>",
        "<l xmlns='urn:a'>x y</l>",
    ]);
}

#[test]
fn ids_are_unique_and_referred_to() {
    let case = Case::new(
        "<xs:element name='r'><xs:complexType><xs:sequence>\
           <xs:element name='x' maxOccurs='unbounded'><xs:complexType><xs:attribute name='id' type='xs:ID'/>\
             <xs:attribute name='to' type='xs:IDREFS'/></xs:complexType></xs:element>\
         </xs:sequence></xs:complexType></xs:element>",
    );
    case.valid(&["<r xmlns='urn:a'><x to='b c'/><x id='b'/><x id=' c ' to='b'/></r>"]);
    case.wrong(&[
        "<r xmlns='urn:a'><x id='b'/><x id='b'/></r>",
        "<r xmlns='urn:a'><x id='b' to='b c'/></r>",
        "<r xmlns='urn:a'><x id='1'/></r>",
        "<r xmlns='urn:a'><x to=''/></r>",
    ]);
}

#[test]
fn ids_may_be_members_of_unions_and_items_of_lists() {
    let case = Case::new(
        "<xs:simpleType name='ids'><xs:list itemType='xs:ID'/></xs:simpleType>\
         <xs:simpleType name='two'><xs:restriction base='a:ids'><xs:length value='2'/></xs:restriction></xs:simpleType>\
         <xs:simpleType name='short'><xs:restriction base='xs:ID'><xs:maxLength value='2'/></xs:restriction></xs:simpleType>\
         <xs:simpleType name='id'><xs:union memberTypes='xs:int a:two a:short xs:string'/></xs:simpleType>\
         <xs:simpleType name='to'><xs:union memberTypes='xs:IDREF xs:int'/></xs:simpleType>\
         <xs:simpleType name='entity'><xs:union memberTypes='xs:int xs:ENTITY xs:string'/></xs:simpleType>\
         <xs:simpleType name='all'><xs:list itemType='a:to'/></xs:simpleType>\
         <xs:element name='r'><xs:complexType><xs:choice maxOccurs='unbounded'>\
           <xs:element name='i' type='a:id'/><xs:element name='t' type='a:all'/>\
           <xs:element name='e' type='a:entity'/>\
           <xs:element name='a'><xs:complexType><xs:attribute name='i' type='a:id'/>\
             <xs:attribute name='t' type='a:to'/></xs:complexType></xs:element>\
         </xs:choice></xs:complexType>\
         <xs:unique name='u'><xs:selector xpath='a:i'/><xs:field xpath='.'/></xs:unique></xs:element>",
    );
    let document = |inside: &str| format!("<r xmlns='urn:a'>{inside}</r>");
    for good in [
        "<i>a</i><t>a 1 a</t><t>1</t>",
        "<t>b a</t><i> a b </i>",
        "<i>abc</i><a i='abc'/>",
        "<i>a b c</i><a i='a'/>",
        "<i>a 1</i><a i='a'/><a t='a'/>",
        "<a i='a' t='a'/><a i='1' t='1'/><i>1</i><e>1</e>",
    ] {
        case.valid(&[&document(good)]);
    }
    for bad in [
        "<i>a</i><a i='a'/>",
        "<i>a b</i><a i='b'/>",
        "<t>a</t>",
        "<t>1 a</t><i>1</i>",
        "<i>abc</i><t>abc</t>",
        "<i>a b c</i><t>a</t>",
        "<a i='a' t='b'/>",
        "<a t='1.0'/>",
        "<e>a</e>",
    ] {
        case.wrong(&[&document(bad)]);
    }
    case.doubted(&[&document("<e>a b</e>")]);
}

fn keys() -> Case {
    Case::new(
        "<xs:element name='r'><xs:complexType><xs:sequence>\
           <xs:element name='g' maxOccurs='unbounded'><xs:complexType><xs:sequence>\
             <xs:element name='i' minOccurs='0' maxOccurs='unbounded'><xs:complexType><xs:sequence>\
               <xs:element name='n' type='xs:decimal' minOccurs='0'/></xs:sequence>\
               <xs:attribute name='c' type='xs:string'/><xs:attribute name='u' type='xs:int'/></xs:complexType></xs:element>\
             <xs:element name='o' minOccurs='0' maxOccurs='unbounded'><xs:complexType>\
               <xs:attribute name='n' type='xs:decimal'/><xs:attribute name='c' type='xs:string'/></xs:complexType></xs:element>\
           </xs:sequence></xs:complexType>\
           <xs:key name='k'><xs:selector xpath='a:i'/><xs:field xpath='a:n'/><xs:field xpath='@c'/></xs:key>\
           </xs:element>\
         </xs:sequence></xs:complexType>\
         <xs:unique name='u'><xs:selector xpath='.//a:i'/><xs:field xpath='@u'/></xs:unique>\
         <xs:keyref name='f' refer='a:k'><xs:selector xpath='a:g/a:o'/><xs:field xpath='@n'/><xs:field xpath='@c'/></xs:keyref>\
         </xs:element>",
    )
}

#[test]
fn keys_are_there_and_unique_and_referred_to() {
    let case = keys();
    let document = |inside: &str| format!("<r xmlns='urn:a'>{inside}</r>");
    for good in [
        "<g/>",
        "<g><i c='x' u='1'><n>1</n></i><i c='y' u='2'><n>1.0</n></i></g><g><i c='x'><n>2</n></i></g>",
        "<g><i c='x'><n>1</n></i><o n='2.0' c='x'/><o n='01' c='x'/></g><g><i c='x'><n>2</n></i></g>",
        "<g><o n='2.0'/></g>",
    ] {
        case.valid(&[&document(good)]);
    }
    case.doubted(&[&document(
        "<g><i c='x'><n>1</n></i><o n='1' c='x'/></g><g><i c='x'><n>1</n></i></g>",
    )]);
    let places = |inside: &str| {
        // The places of numbers, which mark where the elements are: `0<i c='x'/>` is found at 0.
        let mut text = document("");
        let end = text.split_off(text.len() - "</r>".len());
        let mut marks = HashMap::new();
        for piece in inside.split_inclusive('|') {
            text.push_str(piece.trim_end_matches('|'));
            marks.insert(text.len() as u64, marks.len());
        }
        text.push_str(&end);
        let breaches = case.breached(&text);
        let mark = |place| marks[&place];
        let of =
            |(kind, place, first): &(_, u64, Option<u64>)| (*kind, mark(*place), first.map(mark));
        breaches.iter().map(of).collect::<Vec<_>>()
    };
    use BreachKind::{Dangling, Incomplete, Twice};
    for (bad, expected) in [
        ("<g>|<i c='x'/></g>", &[(Incomplete, 0, None)][..]),
        ("<g>|<i><n>1</n></i></g>", &[(Incomplete, 0, None)]),
        (
            "<g>|<i c='x'><n>1</n></i>|<i c='x'><n>1.0</n></i>|<i c='x'><n>01</n></i></g>",
            &[(Twice, 1, Some(0)), (Twice, 2, Some(0))],
        ),
        (
            "<g>|<i c='x' u='1'><n>1</n></i></g><g>|<i c='y' u='01'><n>1</n></i></g>",
            &[(Twice, 1, Some(0))],
        ),
        (
            "<g><i c='x'><n>1</n></i><o n='1' c='x'/>|<o n='2' c='x'/><o n='2' c='x'/>|<o n='3' c='x'/></g>",
            &[(Dangling, 0, None), (Dangling, 1, None)],
        ),
        ("<g>|<o n='1' c='x'/></g>", &[(Dangling, 0, None)]),
    ] {
        assert_eq!(places(bad), expected, "{bad}");
    }
}

#[test]
fn keys_of_unions_are_those_of_the_first_member_that_fits() {
    let case = Case::new(
        "<xs:simpleType name='early'><xs:restriction base='xs:date'>\
           <xs:maxInclusive value='2026-01-01'/></xs:restriction></xs:simpleType>\
         <xs:simpleType name='times'><xs:list itemType='xs:time'/></xs:simpleType>\
         <xs:simpleType name='either'>\
           <xs:union memberTypes='xs:int xs:time xs:duration a:times xs:string'/></xs:simpleType>\
         <xs:simpleType name='bounded'><xs:union memberTypes='a:early xs:string'/></xs:simpleType>\
         <xs:element name='r'><xs:complexType><xs:choice maxOccurs='unbounded'>\
           <xs:element name='x' type='a:either'/><xs:element name='y' type='a:bounded'/></xs:choice></xs:complexType>\
           <xs:unique name='u'><xs:selector xpath='a:x|a:y'/><xs:field xpath='.'/></xs:unique></xs:element>",
    );
    let document = |name: &str, values: &[&str]| {
        let one = |value: &&str| format!("<{name}>{value}</{name}>");
        let all: String = values.iter().map(one).collect();
        format!("<r xmlns='urn:a'>{all}</r>")
    };
    let times = [
        "10:00:00Z",
        "10:00:00",
        "10:00:00Z 11:00:00Z",
        "10:00:00Z 1:00:00Z",
    ];
    case.valid(&[
        &document("x", &["1", "01:00:00Z", "P1D", "a", " a"]),
        &document("x", &times),
        &document("y", &["2025-01-01", "2025-01-02"]),
    ]);
    for twice in [
        ["1", "01"],
        ["P1D", "PT24H"],
        ["12:00:00.0Z", "12:00:00Z"],
        ["11:00:00Z 12:00:00.0Z", " 11:00:00Z  12:00:00Z"],
        ["a", "a"],
    ] {
        case.breached(&document("x", &twice));
    }
    case.wrong(&[
        &document("x", &["12:00:00+01:00", "11:00:00Z"]),
        &document("x", &["12:00:00+01:00 01:00:00Z", "11:00:00Z 01:00:00Z"]),
    ]);
    case.doubted(&[
        &document("x", &["-a"]),
        &document("x", &["P10000000000D"]),
        &document("y", &["2027-01-01"]),
    ]);
}

#[test]
fn keys_need_room() {
    let case = keys();
    let item = |n: usize| format!("<i c='x' u='{n}'><n>{n}</n></i>");
    let items: String = (0..5000).map(item).collect();
    let document = format!("<r xmlns='urn:a'><g>{items}</g></r>");
    let verdict = case.validation(100_000).of_whole(document.as_bytes());
    assert_eq!(verdict, Verdict::NoRoom(NoRoom::TooLarge(100_000)));
    let verdict = case.validation(PLENTY).of_whole(document.as_bytes());
    assert_eq!(verdict, Verdict::Valid);
}

#[test]
fn limits_are_kept() {
    let case = any();
    let nested = |n: usize| {
        let (open, close) = ("<x>".repeat(n - 1), "</x>".repeat(n - 1));
        format!("<r xmlns='urn:a'>{open}{close}</r>")
    };
    case.valid(&[&nested(256)]);
    case.wrong(&[&nested(257)]);
    let limits = XmlLimits {
        text_bytes_max: 100,
        tag_bytes_max: 100,
        ..XmlLimits::default()
    };
    for document in [
        format!("<r xmlns='urn:a'>{}</r>", "x".repeat(101)),
        format!("<r xmlns='urn:a'>{0}<![CDATA[{0}]]></r>", "x".repeat(51)),
        format!("<r xmlns='urn:a'><!--{}--></r>", "x".repeat(101)),
        format!("<r xmlns='urn:a' x='{}'/>", "x".repeat(101)),
        format!("<r xmlns='urn:a'>{}&amp;</r>", "&".repeat(101)),
    ] {
        for size in [1, 1000] {
            let budget = Arc::new(Budget::new(0));
            let mut validation = Validation::new(Arc::clone(&case.tables), budget, limits);
            let mut pieces = document.as_bytes().chunks(size);
            while pieces.next().is_some_and(|piece| validation.read(piece)) {}
            assert!(validation.rest.len() <= 101 + size);
            assert!(matches!(validation.finish(), Verdict::Doubt(_)));
        }
    }
}

#[test]
fn a_doubt_has_its_place() {
    let case = any();
    let document = b"<r xmlns='urn:a'>abc<d>&x;</d></r>";
    for size in [1, 1000] {
        let mut validation = case.validation(PLENTY);
        let mut pieces = document.chunks(size);
        while pieces.next().is_some_and(|piece| validation.read(piece)) {}
        let Verdict::Doubt(doubt) = validation.finish() else {
            panic!("it is wrong");
        };
        assert_eq!((doubt.offset, doubt.reason), (23, "a reference"));
    }
}
